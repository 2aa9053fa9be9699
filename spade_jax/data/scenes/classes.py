"""The label alphabet: class names, display colours, and which classes are things."""

CLASSES: tuple[str, ...] = (
    "sky",
    "cloud",
    "sun",
    "mountain",
    "snow",
    "hill",
    "grass",
    "tree",
    "water",
    "sand",
    "rock",
    "road",
    "house",
)

PALETTE: tuple[tuple[int, int, int], ...] = (
    (112, 178, 255),  # sky
    (236, 240, 255),  # cloud
    (255, 196, 0),  # sun
    (128, 112, 144),  # mountain
    (184, 224, 232),  # snow
    (164, 168, 72),  # hill
    (96, 208, 64),  # grass
    (16, 104, 40),  # tree
    (24, 72, 192),  # water
    (248, 224, 144),  # sand
    (104, 72, 48),  # rock
    (72, 72, 80),  # road
    (216, 40, 56),  # house
)

SKY, CLOUD, SUN, MOUNTAIN, SNOW, HILL, GRASS, TREE, WATER, SAND, ROCK, ROAD, HOUSE = (
    range(len(CLASSES))
)

# Classes whose pixels belong to countable objects; all others have instance 0.
THINGS: frozenset[int] = frozenset({CLOUD, SUN, TREE, ROCK, HOUSE})
