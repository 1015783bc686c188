//! Batches made ahead of time by threads, in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::iter::FusedIterator;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Why a batch is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderError {
    /// Making it panicked.
    #[error("making batch {iteration} panicked: {message}")]
    Panicked {
        /// The batch's iteration.
        iteration: u64,
        /// The panic's message.
        message: String,
    },
    /// The operating system can't start a thread.
    #[error("cannot start thread {thread} of the loader: {reason}")]
    Thread {
        /// How many were started before it.
        thread: usize,
        /// What the system says.
        reason: String,
    },
}

/// An iterator over what `make` returns for each iteration of a range, strictly in order, while
/// threads work ahead.
///
/// At most `queue` batches are in the making or waiting to be taken at any time, so memory is
/// bounded however slow the consumer is; a `queue` below the number of threads leaves threads idle.
/// Dropping the loader early is fine: it stops the threads, and waits for the batches in the making.
/// A batch whose making panics is an error item, and the next ones follow.
///
/// ```
/// use fcos_data::Loader;
///
/// let squares: Result<Vec<u64>, _> = Loader::start(3..6, 2, 4, |i| i * i)?.collect();
/// assert_eq!(squares?, [9, 16, 25]);
/// # Ok::<(), fcos_data::LoaderError>(())
/// ```
#[derive(Debug)]
pub struct Loader<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// A batch was finished.
    finished: Condvar,
    /// A batch was taken, or the loader was dropped.
    taken: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// The iteration that the consumer takes next.
    next_out: u64,
    /// The iteration that the next free thread begins: below `next_out + queue`.
    next_in: u64,
    end: u64,
    queue: u64,
    /// Finished and not taken, by iteration.
    ready: BTreeMap<u64, Result<T, LoaderError>>,
    stopped: bool,
}

impl<T: Send + 'static> Loader<T> {
    /// Starts `threads` threads that call `make` for each of the `iterations`, with at most `queue`
    /// batches ahead of the consumer. Both numbers are taken for 1 if they are 0.
    ///
    /// # Errors
    /// [`LoaderError::Thread`]; those started before it are stopped.
    pub fn start(
        iterations: Range<u64>,
        threads: usize,
        queue: usize,
        make: impl Fn(u64) -> T + Send + Sync + 'static,
    ) -> Result<Self, LoaderError> {
        let mut loader = Self {
            shared: Arc::new(Shared::new(iterations, queue)),
            threads: Vec::new(),
        };
        let make = Arc::new(make);
        for thread in 0..threads.max(1) {
            let (shared, make) = (Arc::clone(&loader.shared), Arc::clone(&make));
            let started = thread::Builder::new().spawn(move || shared.work(&*make));
            loader
                .threads
                .push(started.map_err(|e| LoaderError::Thread {
                    thread,
                    reason: e.to_string(),
                })?);
        }
        Ok(loader)
    }
}

impl<T> Iterator for Loader<T> {
    type Item = Result<T, LoaderError>;

    /// Waits for the next batch; `None` after the last one.
    fn next(&mut self) -> Option<Self::Item> {
        self.shared.take()
    }
}

impl<T> FusedIterator for Loader<T> {}

impl<T> Drop for Loader<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.taken.notify_all();
        for thread in self.threads.drain(..) {
            // A thread catches what `make` panics with; there is no other result to lose.
            let _ = thread.join();
        }
    }
}

impl<T> Shared<T> {
    fn new(iterations: Range<u64>, queue: usize) -> Self {
        let state = State {
            next_out: iterations.start,
            next_in: iterations.start,
            end: iterations.end,
            queue: queue.max(1) as u64,
            ready: BTreeMap::new(),
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            finished: Condvar::new(),
            taken: Condvar::new(),
        }
    }

    /// Nothing panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: makes batches until there is none left to begin.
    fn work(&self, make: &impl Fn(u64) -> T) {
        while let Some(iteration) = self.claim() {
            let batch = catch_unwind(AssertUnwindSafe(|| make(iteration)));
            let batch = batch.map_err(|payload| LoaderError::Panicked {
                iteration,
                message: panic_message(payload.as_ref()),
            });
            self.lock().ready.insert(iteration, batch);
            self.finished.notify_one();
        }
    }

    /// Waits until there is room for a batch, and returns its iteration.
    fn claim(&self) -> Option<u64> {
        let full =
            |s: &mut State<T>| !s.stopped && s.next_in < s.end && s.next_in - s.next_out >= s.queue;
        let waiting = self.taken.wait_while(self.lock(), full);
        let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
        if state.stopped || state.next_in >= state.end {
            return None;
        }
        state.next_in += 1;
        Some(state.next_in - 1)
    }

    /// Waits for the batch that is next in order. The lowest iteration claimed is always one that a
    /// thread is making or has made, so this ends.
    fn take(&self) -> Option<Result<T, LoaderError>> {
        let missing = |s: &mut State<T>| s.next_out < s.end && !s.ready.contains_key(&s.next_out);
        let waiting = self.finished.wait_while(self.lock(), missing);
        let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
        let next_out = state.next_out;
        let batch = state.ready.remove(&next_out)?;
        state.next_out += 1;
        drop(state);
        // All threads: after the last batch each of them has to see that there is no more.
        self.taken.notify_all();
        Some(batch)
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use fcos_core::Rng;

    /// Sleeps that put neighbours out of order, a pure function of the iteration.
    fn dawdle(iteration: u64) {
        let micros = match iteration % 7 {
            0 => 4000,
            _ => Rng::from_key(&[iteration]).below(800) as u64,
        };
        thread::sleep(Duration::from_micros(micros));
    }

    /// A batch that counts how many of its like exist.
    struct Counted(u64, Arc<AtomicUsize>);

    impl Counted {
        fn new(iteration: u64, alive: &Arc<AtomicUsize>, peak: &AtomicUsize) -> Self {
            let now = alive.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(now, Ordering::SeqCst);
            Self(iteration, Arc::clone(alive))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn in_order_complete_and_bounded() {
        for (threads, queue) in [(1, 1), (1, 4), (2, 1), (2, 2), (3, 5), (4, 3), (4, 8)] {
            let (alive, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let counters = (Arc::clone(&alive), Arc::clone(&peak));
            let loader = Loader::start(1000..1070, threads, queue, move |i| {
                let batch = Counted::new(i, &counters.0, &counters.1);
                dawdle(i);
                batch
            })
            .expect("starts");
            let mut seen = Vec::new();
            for batch in loader {
                let batch = batch.expect("no panic");
                seen.push(batch.0);
                // A slow consumer now and then, so that the queue fills up.
                if batch.0 % 13 == 0 {
                    thread::sleep(Duration::from_millis(6));
                }
            }
            assert_eq!(
                seen,
                (1000..1070).collect::<Vec<_>>(),
                "{threads} threads, queue {queue}"
            );
            // One more is in the consumer's hands.
            let peak = peak.load(Ordering::SeqCst);
            assert!(
                peak <= queue + 1,
                "{peak} batches, {threads} threads, queue {queue}"
            );
            assert_eq!(alive.load(Ordering::SeqCst), 0);
        }
    }

    #[test]
    fn a_waiting_consumer_is_not_run_ahead_of() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let mut loader = Loader::start(0..100, 4, 3, move |i| {
            counter.fetch_add(1, Ordering::SeqCst);
            i
        })
        .expect("starts");
        thread::sleep(Duration::from_millis(50));
        assert_eq!(made.load(Ordering::SeqCst), 3);
        assert_eq!(loader.next(), Some(Ok(0)));
        thread::sleep(Duration::from_millis(50));
        assert_eq!(made.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn dropping_it_midway_stops_and_frees() {
        for taken in [0, 1, 5] {
            for threads in 1..=4 {
                let (alive, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
                let counters = (Arc::clone(&alive), peak);
                let mut loader = Loader::start(0..u64::MAX, threads, 6, move |i| {
                    dawdle(i);
                    Counted::new(i, &counters.0, &counters.1)
                })
                .expect("starts");
                for expected in 0..taken {
                    let batch = loader.next().expect("endless").expect("no panic");
                    assert_eq!(batch.0, expected);
                }
                drop(loader);
                // Joined: nothing is left, and nothing is made any more.
                assert_eq!(alive.load(Ordering::SeqCst), 0);
                assert_eq!(Arc::strong_count(&alive), 1);
            }
        }
    }

    #[test]
    fn panics_become_items_and_the_rest_follows() {
        let items: Vec<_> = Loader::start(0..20, 3, 4, |i| {
            dawdle(i);
            assert!(i % 9 != 4, "bad image in {i}");
            i
        })
        .expect("starts")
        .collect();
        for (i, item) in (0..).zip(items) {
            let message = format!("bad image in {i}");
            match i % 9 {
                4 => assert_eq!(
                    item,
                    Err(LoaderError::Panicked {
                        iteration: i,
                        message
                    })
                ),
                _ => assert_eq!(item, Ok(i)),
            }
        }
    }

    #[test]
    fn odd_arguments() {
        let start = |range, threads, queue| {
            Loader::start(range, threads, queue, |i: u64| i).expect("starts")
        };
        assert_eq!(start(5..5, 2, 2).count(), 0);
        #[expect(clippy::reversed_empty_ranges, reason = "an outside number may be one")]
        let reversed = start(9..5, 2, 2);
        assert_eq!(reversed.count(), 0);
        let mut loader = start(0..2, 0, 0);
        assert_eq!(loader.by_ref().flatten().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(loader.next(), None);
    }
}
