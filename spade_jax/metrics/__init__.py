"""How good syntheses are: features, classes and statistics in, scores out.

Words, each for one thing:

network
  a Flax module of `metrics.nets`, without weights.
published network
  one whose authors give its weights away: `weights.PUBLISHED`, by name.
segmenter
  a network with weights that gives each pixel a class: a published one
  (`published_segmenters`), or the project's own (`own_segmenter`, a U-Net trained on
  the dataset itself; the package brings one in `shipped/segmenters/`).
protocol
  how a published evaluation went about it (`protocols`): among the rest which features,
  and which segmenter by a `SegmenterSpec`.
observers
  what looks at pictures in place of people (`observers`): a protocol's networks with
  their weights, compiled, as functions of pictures, which they see at the sizes of
  `views`.

Scores are plain NumPy: `frechet` (FID, and its square root), `kernel` (KID),
`segmentation` (mIoU, accuracy); `lpips` compares pictures. `published_results` is what
others measured.

May import: PIL, flax, jax, scipy, `files`, `learning`, `nets`.
"""
