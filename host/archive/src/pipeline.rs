//! A parallel pipeline that keeps the order: several threads work on blocks, and the results come out in the order of the blocks.
//!
//! Does not know what the work is. Its queues are bounded: each holds a few blocks, and then its sender waits.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

/// Blocks in the queue beyond one for each worker: enough that no worker waits, and a few megabytes of memory.
const SPARE_BLOCKS: usize = 2;

/// The end where blocks go in.
pub(super) struct PipelineInput<I, O> {
    jobs: SyncSender<(I, SyncSender<O>)>,
    order: SyncSender<Receiver<O>>,
}

/// The end where results come out.
pub(super) struct PipelineOutput<O> {
    order: Receiver<Receiver<O>>,
}

/// The other end is gone.
#[derive(Debug)]
pub(super) struct Closed;

/// Starts a pipeline; `make` makes the function of each worker.
///
/// # Errors
/// When the system gives no threads.
pub(super) fn pipeline<I, O, W>(
    workers: usize,
    make: impl Fn() -> W,
) -> io::Result<(PipelineInput<I, O>, PipelineOutput<O>)>
where
    I: Send + 'static,
    O: Send + 'static,
    W: FnMut(I) -> O + Send + 'static,
{
    let workers = workers.max(1);
    let (jobs, taken) = sync_channel::<(I, SyncSender<O>)>(1);
    let (order, drained) = sync_channel(workers + SPARE_BLOCKS);
    let taken = Arc::new(Mutex::new(taken));
    for _ in 0..workers {
        let (taken, mut work) = (Arc::clone(&taken), make());
        std::thread::Builder::new().name("archive-block".to_owned()).spawn(move || {
            loop {
                let job = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((input, answer)) = job else { return };
                // Nobody waits for the answer any more when the drain was dropped.
                let _ = answer.send(work(input));
            }
        })?;
    }
    Ok((PipelineInput { jobs, order }, PipelineOutput { order: drained }))
}

impl<I, O> PipelineInput<I, O> {
    /// Adds a block to be worked on; waits while the queue is full.
    pub(super) fn push(&self, input: I) -> Result<(), Closed> {
        let (answer, result) = sync_channel(1);
        self.order.send(result).map_err(|_| Closed)?;
        self.jobs.send((input, answer)).map_err(|_| Closed)
    }

    /// Adds a result that needs no work, in its place.
    pub(super) fn push_done(&self, output: O) -> Result<(), Closed> {
        let (answer, result) = sync_channel(1);
        answer.send(output).map_err(|_| Closed)?;
        self.order.send(result).map_err(|_| Closed)
    }
}

impl<O> PipelineOutput<O> {
    /// The next result; `None` after the last.
    ///
    /// # Errors
    /// [`Closed`] when the worker of this block panicked.
    pub(super) fn next(&self) -> Option<Result<O, Closed>> {
        self.order.recv().ok().map(|result| result.recv().map_err(|_| Closed))
    }
}

/// As many workers as there are processors.
pub(super) fn workers() -> usize {
    const MAX_WORKERS: usize = 16;
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_a_dropped_end_stops_the_other() {
        let (feed, drain) = pipeline(3, || |number: u64| number * 2).unwrap();
        let fed = std::thread::spawn(move || {
            for number in 0..1000 {
                feed.push(number).unwrap();
            }
            feed.push_done(7).unwrap();
        });
        let results: Vec<_> = std::iter::from_fn(|| drain.next()).map(Result::unwrap).collect();
        fed.join().unwrap();
        assert_eq!(results, (0..1000).map(|number| number * 2).chain([7]).collect::<Vec<_>>());

        let (feed, drain) = pipeline(2, || |number: u64| number).unwrap();
        drop(drain);
        assert!((0..10).any(|number| feed.push(number).is_err()));
    }

    #[test]
    fn a_panic_is_seen_at_its_place() {
        let (feed, drain) =
            pipeline(1, || |number: u64| if number == 1 { panic!("on purpose") } else { number }).unwrap();
        feed.push(0).unwrap();
        feed.push(1).unwrap();
        assert_eq!(drain.next().unwrap().unwrap(), 0);
        assert!(drain.next().unwrap().is_err());
    }
}
