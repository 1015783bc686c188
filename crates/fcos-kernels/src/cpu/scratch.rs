//! Working memory that is kept from call to call.
//!
//! A convolution needs tens of megabytes for a few milliseconds. Fresh memory of that size costs
//! page faults and clearing, a good part of the time of the convolution itself (measured).

use std::cell::RefCell;

thread_local! {
    static IDLE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` values of **arbitrary content**: whatever an earlier user left there.
///
/// The memory belongs to the calling thread and is given back when that thread ends.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = IDLE.with_borrow_mut(|idle| take_fitting(idle, len));
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = f(&mut buffer[..len]);
    IDLE.with_borrow_mut(|idle| idle.push(buffer));
    result
}

/// The smallest buffer that holds `len` values, or else the largest one.
fn take_fitting(idle: &mut Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let fitting = (0..idle.len())
        .filter(|&i| idle[i].len() >= len)
        .min_by_key(|&i| idle[i].len());
    let chosen = fitting.or_else(|| (0..idle.len()).max_by_key(|&i| idle[i].len()));
    chosen.map_or_else(Vec::new, |i| idle.swap_remove(i))
}
