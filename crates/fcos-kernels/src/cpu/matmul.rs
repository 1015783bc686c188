//! The one place that calls the `gemm` crate: safe matrix products on slices.
// `gemm::gemm` takes raw pointers, and threads write to different columns of one slice; the views
// below check that every element lies in its slice.
#![allow(unsafe_code)]

use std::slice;

use gemm::Parallelism;
use rayon::prelude::*;

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

    /// Some neighbouring columns.
    ///
    /// # Panics
    /// If there are fewer.
    fn columns(self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.cols, "columns beyond the last");
        Self {
            data: &self.data[start * self.col_stride..],
            cols: len,
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
    assert_fit(&c, a, b);
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: the sizes fit, and `c` is borrowed mutably, so it overlaps neither `a` nor `b`.
    unsafe { product(c.data.as_mut_ptr(), c.row_stride, write, a, b, parallelism) }
}

/// `c = a b`, a block of so many columns by one thread at a time. The thread hands every row of its
/// block, with the row's number, to `finish` while it is in the cache.
///
/// # Panics
/// If the sizes do not fit.
pub(crate) fn matmul_by_columns(
    c: MatMut,
    a: MatRef,
    b: MatRef,
    block: usize,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) {
    assert_fit(&c, a, b);
    let (rows, cols, row_stride) = (c.rows, c.cols, c.row_stride);
    let shared = Shared(c.data.as_mut_ptr());
    (0..cols).into_par_iter().step_by(block).for_each(|start| {
        let len = block.min(cols - start);
        let at = |row: usize| shared.at(row * row_stride + start);
        // SAFETY: `c` is borrowed mutably and holds `len` columns from `start`, as `b` does; no
        // other thread touches these columns.
        unsafe {
            let b = b.columns(start, len);
            product(at(0), row_stride, Write::Replace, a, b, Parallelism::None);
        }
        for row in 0..rows {
            // SAFETY: as above, and rows do not overlap.
            finish(row, unsafe { slice::from_raw_parts_mut(at(row), len) });
        }
    });
}

/// A pointer that threads share, each to write to places of its own.
struct Shared(*mut f32);

impl Shared {
    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

// SAFETY: it is a number until somebody writes through it, who has to say why he may.
unsafe impl Sync for Shared {}

fn assert_fit(c: &MatMut, a: MatRef, b: MatRef) {
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
}

/// `a b` into, or added to, the rows that start `row_stride` apart at `c`.
///
/// # Safety
/// `a.cols` is `b.rows`. `c` has `a.rows` such rows of `b.cols` elements, which this thread may
/// write and which overlap neither `a` nor `b`. (That every element of `a` and `b` lies in its slice, the
/// constructors of [`MatRef`] have checked.)
unsafe fn product(
    c: *mut f32,
    row_stride: usize,
    write: Write,
    a: MatRef,
    b: MatRef,
    parallelism: Parallelism,
) {
    // SAFETY: the caller's.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            c,
            1,
            row_stride as isize,
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
