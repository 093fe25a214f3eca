"""The message about a graph that does not compute one image as its file does, with a next step that can help."""


def batch_refusal(fixed: int, part: int) -> str:
    """Return the message.

    Args:
        fixed: the batch that the file fixes, 0 for none.
        part: the batch at which the file was run, 0 for any.
    """
    if fixed > 1:
        return (
            f"The batch of the file is fixed at {fixed}, and the graph does not compute a single image as the file "
            "does in its batch. Export the network again with a dynamic batch, or with a batch of 1"
        )
    if fixed == 1:
        return (
            "The batch of the file is fixed at 1, and the graph gives another result for the same image when the "
            "batch is free. Export the network again with a dynamic batch"
        )
    if part == 1:
        return (
            "The batch of the file is free, but the file was run with one image at a time, and the graph gives another "
            "result for the same image. Export the network again with a batch of 1"
        )
    return (
        "The batch of the file is free, and the graph does not compute a single image as the file does. Give "
        "--largest-batch 1 if the network is meant for one image at a time, or export it again with a batch of 1"
    )


def unsteady_refusal() -> str:
    """Return the message about a file that computes another result each time."""
    return (
        "The file gives another result for the same image in another run. Does a branch of the graph draw random "
        "numbers, as an active dropout does? Call model.eval(), and export the network again"
    )
