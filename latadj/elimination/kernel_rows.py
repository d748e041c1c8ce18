"""How many rows a matrix product runs on: few different numbers, since each has a kernel of its own."""

# Up to this many rows, each number has its own kernel.
MANY_ROWS = 64


def kernel_rows(count: int) -> int:
    """Round a number of rows up, since oneDNN compiles a kernel for each, which takes as long as a product.

    Elimination leaves another number in each layer and of each text. At most a sixteenth is added.
    """
    step = max(16, 1 << count.bit_length() >> 5)
    return count if count <= MANY_ROWS else -(-count // step) * step
