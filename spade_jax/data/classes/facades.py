"""The 12 classes of the CMP Facade Database (Tylecek, report CTU-CMP-2012-24).

Ids and names are those of label_names.txt in its archives, the colours those of its
label pictures' palettes. Its ids begin at 1; the official SPADE counts 0 as a class.
"""

CLASSES = {
    "unknown": (0, 0, 0),
    "background": (0, 0, 170),
    "facade": (0, 0, 255),
    "window": (0, 85, 255),
    "door": (0, 170, 255),
    "cornice": (0, 255, 255),
    "sill": (85, 255, 170),
    "balcony": (170, 255, 85),
    "blind": (255, 255, 0),
    "deco": (255, 170, 0),
    "molding": (255, 85, 0),
    "pillar": (255, 0, 0),
    "shop": (170, 0, 0),
}
