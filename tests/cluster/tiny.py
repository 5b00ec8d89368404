"""A run of two tasks that takes seconds, whatever starts it."""

RUN = """
data: {path: shards}
benchmark: {init_cls: 2, increment: 2, max_tasks: 2}
backbone:
  {name: vit_tiny_patch16_224, weights: none, img_size: 32, kwargs: {patch_size: 8, embed_dim: 48, depth: 2}}
method: {prompt_length: 2, num_groups: 2, generator: {kind: bottleneck, rank: 4}}
train: {epochs: 1, global_batch_size: 32, max_steps_per_task: 2}
engine: {precision: fp32, timeout_seconds: 60}
"""
