"""The questions that a run's curves answer, one page of TensorBoard's Custom Scalars each (docs/tensorboard.md)."""

from __future__ import annotations

from hlgp_dist.telemetry.pages import Chart, Page

END = "(task|val)"
"""What is measured at a task's end, on test pictures or on those of the validation part."""
SAMPLED = "(_sampled)?"


def _at_end(title: str, *names: str) -> Chart:
    """One chart of what stands below `task/` or `val/`, estimates too."""
    return Chart(title, tuple(f"{END}/{name}{SAMPLED}" for name in names))


PAGES = (
    Page(
        "How accurate is it, and how much is forgotten?",
        (
            _at_end("average accuracy over the tasks seen", "acc1_avg"),
            _at_end("its mean over the tasks so far", "acc1_cum_avg"),
            _at_end("forgetting", "forgetting"),
            _at_end("the new task's accuracy, and its mean", "acc1", "plasticity"),
            Chart("accuracy of each task", (rf"(eval|val)/task_\d+/acc1{SAMPLED}",)),
            _at_end("backward transfer", "bwt"),
            _at_end("accuracy over all pictures of the tasks seen", "acc1_micro"),
        ),
    ),
    Page(
        "Does it learn?",
        (
            Chart("loss", ("train/loss",)),
            Chart("accuracy on training pictures, within the task", ("train/acc1",)),
            Chart("gradient norm before clipping", ("train/grad_norm",)),
            Chart("learning rates", (r"train/lr_\w+",)),
        ),
    ),
    Page(
        "Does it find the task of a picture?",
        (
            _at_end("pictures whose task has the largest weight", "task_id_acc"),
            _at_end("weight of the true task's prompts", "true_task_weight"),
        ),
    ),
    Page(
        "Are the prompts different?",
        (
            Chart("cosine between blocks of a group, and of different groups", (r"prompts/similarity_\w+_groups",)),
            Chart("cosine between tasks", ("prompts/similarity_between_tasks",)),
            Chart(
                "cosine between blocks, or components of a pool", (r"prompts/similarity_between_(block|component)s",)
            ),
            Chart("what the position encoding adds, of the sub-prompt's norm", ("prompts/position_ratio",)),
        ),
    ),
    Page(
        "Is the accelerator busy?",
        (
            Chart("training pictures a second", ("throughput/images_per_s",)),
            Chart("a second and accelerator", ("throughput/images_per_s_per_gpu",)),
            Chart("part of the time spent waiting for data", ("throughput/data_wait_frac",)),
            Chart("memory, GiB", ("memory/(reserved|rss)_gib",)),
            Chart("retries of the allocator", ("memory/alloc_retries",)),
            Chart("seconds until a task's pictures were there", ("data/wait_seconds",)),
            Chart("pictures decoded a second", ("data/decoded_images_per_s",)),
            Chart("pictures decoded, and bad ones left out", ("data/decoded_images", "data/skipped_samples")),
        ),
    ),
)
