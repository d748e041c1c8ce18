from latadj.elimination.kernel_rows import MANY_ROWS, kernel_rows


def test_kernels_meet_few_numbers_of_rows_and_compute_few_too_many():
    counts = range(1, 5000)
    assert all(count <= kernel_rows(count) <= count * 1.25 for count in counts)
    assert all(kernel_rows(count) <= count * 17 / 16 for count in counts if count > 256)
    assert all(kernel_rows(kernel_rows(count)) == kernel_rows(count) for count in counts)
    rounded = {1: 1, MANY_ROWS: MANY_ROWS, 65: 80, 300: 304, 700: 704, 768: 768, 4001: 4096}
    assert {count: kernel_rows(count) for count in rounded} == rounded
    assert len({kernel_rows(count) for count in counts}) < 200
