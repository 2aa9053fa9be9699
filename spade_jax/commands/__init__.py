"""Commands: one file for each thing that the command line can be asked to do.

Each is a function of plain arguments, named after its mode of `spade_jax.main`
(`predict`, `check_data`, `label_photos`) or after its program (`convert_weights`,
`convert_checkpoint`). `going_on` says with which recipe a run of training goes on;
`beginning`, `command_line`, `console` and `ending` are what all programs share.
Training, evaluation, export and planning are rooms of their own.

May import: PIL, absl, jax, ml_collections, tqdm, `assemble`, `convert`, `data`,
`files`, `layout`, `learning`, `metrics`, `models`, `nets`, `progress`, `recipe`,
`workdir`.
"""
