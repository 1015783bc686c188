//! The one place that calls the `gemm` crate: safe matrix products on slices.
// `gemm::gemm` takes raw pointers; the views below check that every element lies in its slice.
#![allow(unsafe_code)]

use gemm::Parallelism;

/// Whether one product may spread over the thread pool.
#[derive(Clone, Copy)]
pub(crate) enum Threads {
    /// On the calling thread: the caller is parallel itself.
    One,
    /// Over rayon's current pool. The split does not touch the order of any sum.
    All,
}

/// A read-only strided matrix.
#[derive(Clone, Copy)]
pub(crate) struct MatRef<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> MatRef<'a> {
    /// A matrix with contiguous rows that start `row_stride` apart.
    ///
    /// # Panics
    /// If an element lies outside `data`.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert_inside(data.len(), rows, cols, row_stride);
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transpose, without moving data.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A writable matrix with contiguous rows.
pub(crate) struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// A matrix with contiguous rows that start `row_stride` apart.
    ///
    /// # Panics
    /// If an element lies outside `data` or two rows overlap.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert_inside(data.len(), rows, cols, row_stride);
        assert!(rows <= 1 || row_stride >= cols, "rows overlap");
        Self {
            data,
            rows,
            cols,
            row_stride,
        }
    }
}

fn assert_inside(len: usize, rows: usize, cols: usize, row_stride: usize) {
    let needed = if rows == 0 || cols == 0 {
        0
    } else {
        (rows - 1) * row_stride + cols
    };
    assert!(
        needed <= len,
        "matrix of {needed} elements in slice of {len}"
    );
}

/// What happens to the former content of the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// `c = a b`
    Replace,
    /// `c += a b`
    Add,
}

/// `c = a b` or `c += a b`.
///
/// # Panics
/// If the sizes do not fit.
pub(crate) fn matmul(c: MatMut, write: Write, a: MatRef, b: MatRef, threads: Threads) {
    assert!(
        a.cols == b.rows && c.rows == a.rows && c.cols == b.cols,
        "matmul of {}x{} and {}x{} into {}x{}",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        c.rows,
        c.cols
    );
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: the constructors of `MatRef` and `MatMut` checked that every element addressed by
    // the sizes and strides lies in its slice, the sizes agree (above), and `c` is borrowed
    // mutably, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            c.rows,
            c.cols,
            a.cols,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
