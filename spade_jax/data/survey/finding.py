"""A finding is one fault of a dataset; the table of kinds says which are errors."""

from __future__ import annotations

import dataclasses

# From kinds of findings to their severity and what they are.
KINDS = {
    "source": ("error", "the dataset cannot be opened"),
    "folder": ("error", "folders that are missing or empty"),
    "unpaired": ("error", "files without their partner"),
    "same_stem": ("error", "files of the same name before the extension"),
    "unreadable": ("error", "pictures that cannot be read"),
    "frames": ("error", "label or instance files of several pictures"),
    "transparent": ("error", "pictures with transparent pixels"),
    "dark": ("error", "16-bit photographs with values of 12 bits"),
    "lossy_ids": ("error", "label or instance pictures whose ids compression changed"),
    "palette": ("error", "indexed label pictures whose indices may be no ids"),
    "not_ids": ("error", "label or instance pictures that hold no numbers"),
    "colors": ("error", "label pictures with colours of no class"),
    "size": ("error", "maps that differ in size from their photograph"),
    "ids": ("error", "label ids outside the classes"),
    "preprocess": ("error", "pictures that the preprocessing refuses"),
    "batch": ("error", "pictures that differ in size once preprocessed"),
    "network": ("error", "pictures of a size that the networks do not make"),
    "strange_colors": ("warning", "label pictures with colours taken as unknown"),
    "lossy_label": ("warning", "label or instance pictures in a lossy format"),
    "blended_label": ("warning", "label pictures that look smoothed or compressed"),
    "exif": ("warning", "photographs that viewers show turned"),
    "exif_label": ("warning", "label or instance maps that viewers show turned"),
    "animated": ("warning", "photographs that are films, or of several pages"),
    "constant_instance": ("warning", "instance maps of one number"),
    "leak": ("warning", "photographs in more than one split"),
    "unseen": ("warning", "classes that never appear"),
    "passed_over": ("info", "files that are not read"),
    "grey": ("info", "photographs in grey"),
    "cmyk": ("info", "photographs in CMYK"),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
      kind: of `KINDS`.
      split: in which split; where it is in several, the later one.
      file: its path, or for sources without files the example's number.
      message: what is wrong, and what to do.
    """

    kind: str
    split: str
    file: str
    message: str

    @property
    def severity(self) -> str:
        """The kind's severity: with an "error" training fails, else it does not."""
        return KINDS[self.kind][0]
