//! The callers that wait, in order of arrival.
//!
//! A waiter is a number: a seat in a slab, linked to its neighbours, unlinked at once when it is served or leaves. What it was
//! given stays in the seat until it collects. There is no timer, channel or allocation for each waiter: the slab grows in chunks,
//! so that no step copies what is there.

use super::{Arrival, Caller};
use super::{Ns, SlotId};
use crate::{Verdict, error::ConnectError};
use std::{mem, task::Waker};

type Seat = u32;
const NONE: Seat = Seat::MAX;
const CHUNK: usize = 256;

/// Which seat, and which of its successive occupants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    seat: Seat,
    turn: u32,
}

/// What has become of a waiter.
pub(crate) enum Outcome<E> {
    /// The seat is free.
    Free,
    /// In the queue.
    Waiting(Waker),
    /// Has this connection, to be collected.
    Granted(SlotId),
    /// Gets this connect error.
    Failed(ConnectError<E>),
    /// Its time ran out, for this reason.
    Expired(Verdict),
    /// The pool was closed.
    Closed,
    /// The pool was paused, and its callers are to be refused.
    Paused,
}

/// Who waits, since when and until when.
#[derive(Clone, Copy)]
pub(crate) struct Waiter {
    pub(crate) arrived: Arrival,
    pub(crate) deadline: Ns,
    pub(crate) caller: Caller,
}

struct Entry<E> {
    outcome: Outcome<E>,
    waiter: Waiter,
    /// Its number in the order of arrival. Times do not tell it: they are read before the lock, and may be equal.
    number: u64,
    turn: u32,
    prev: Seat,
    next: Seat,
    /// Its place in the heap, if its deadline is earlier than that of somebody before it; else `NONE`, and it is linked by deadline.
    early: u32,
    /// The neighbours by deadline, of those that the heap does not watch.
    sooner: Seat,
    later: Seat,
}

/// Waiters in order of arrival.
pub(crate) struct Queue<E> {
    chunks: Vec<Box<[Entry<E>]>>,
    free: Seat,
    head: Seat,
    tail: Seat,
    len: u32,
    /// Callers that ever queued.
    pushed: u64,
    /// The first and the last waiter that the heap does not watch. Those have their deadlines in queue order.
    soonest: Seat,
    latest: Seat,
    /// A heap of the waiters whose deadlines are out of queue order, the earliest on top. Each knows its place, so that it leaves at once.
    early: Vec<Seat>,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            head: NONE,
            tail: NONE,
            len: 0,
            pushed: 0,
            soonest: NONE,
            latest: NONE,
            early: Vec::new(),
        }
    }

    /// Callers waiting.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of the caller that queued last.
    pub(crate) fn last_number(&self) -> u64 {
        self.pushed
    }

    /// Adds a caller at the end.
    pub(crate) fn push(&mut self, waiter: Waiter, waker: Waker) -> Ticket {
        let seat = self.free_seat(&waiter);
        self.pushed += 1;
        let number = self.pushed;
        let entry = self.entry_mut(seat);
        entry.outcome = Outcome::Waiting(waker);
        (entry.waiter, entry.number) = (waiter, number);
        let ticket = Ticket { seat, turn: entry.turn };
        self.link_last(seat);
        if self.latest != NONE && waiter.deadline < self.entry(self.latest).waiter.deadline {
            self.watch_early(seat);
        } else {
            let latest = mem::replace(&mut self.latest, seat);
            let entry = self.entry_mut(seat);
            (entry.early, entry.sooner, entry.later) = (NONE, latest, NONE);
            match latest {
                NONE => self.soonest = seat,
                latest => self.entry_mut(latest).later = seat,
            }
        }
        ticket
    }

    /// The caller that has waited longest.
    pub(crate) fn first(&self) -> Option<(Ticket, &Waiter)> {
        (self.head != NONE).then(|| (self.ticket(self.head), &self.entry(self.head).waiter))
    }

    /// Everybody who waits, in order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ticket, &Waiter)> {
        let seat = |seat| (seat != NONE).then_some(seat);
        std::iter::successors(seat(self.head), move |&s| seat(self.entry(s).next))
            .map(|s| (self.ticket(s), &self.entry(s).waiter))
    }

    /// Takes a waiting caller out of the queue and leaves the outcome in its seat. Returns its waker.
    pub(crate) fn end(&mut self, ticket: Ticket, outcome: Outcome<E>) -> Waker {
        debug_assert!(self.is_waiting(ticket), "BUG: ended a caller that does not wait");
        self.unlink(ticket.seat);
        match mem::replace(&mut self.entry_mut(ticket.seat).outcome, outcome) {
            Outcome::Waiting(waker) => waker,
            _ => unreachable!("BUG: only waiting callers are in the queue"),
        }
    }

    /// The number of a caller in the order of arrival.
    pub(crate) fn number(&self, ticket: Ticket) -> u64 {
        self.entry(ticket.seat).number
    }

    /// Replaces a grant by another outcome.
    pub(crate) fn withdraw(&mut self, ticket: Ticket, outcome: Outcome<E>) {
        let entry = self.entry_mut(ticket.seat);
        debug_assert!(entry.turn == ticket.turn && matches!(entry.outcome, Outcome::Granted(_)), "BUG: not a grant");
        entry.outcome = outcome;
    }

    /// Puts a caller whose grant was withdrawn back to the front. It was woken for the grant, so it will come and leave its waker.
    pub(crate) fn restore(&mut self, ticket: Ticket) {
        let seat = ticket.seat;
        self.entry_mut(seat).outcome = Outcome::Waiting(Waker::noop().clone());
        self.watch_early(seat);
        let head = mem::replace(&mut self.head, seat);
        let entry = self.entry_mut(seat);
        (entry.prev, entry.next) = (NONE, head);
        match head {
            NONE => self.tail = seat,
            head => self.entry_mut(head).prev = seat,
        }
        self.len += 1;
    }

    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        let entry = self.entry(ticket.seat);
        entry.turn == ticket.turn && matches!(entry.outcome, Outcome::Waiting(_))
    }

    /// What has become of the holder of a ticket.
    #[cfg(test)]
    pub(crate) fn outcome(&self, ticket: Ticket) -> &Outcome<E> {
        let entry = self.entry(ticket.seat);
        debug_assert_eq!(entry.turn, ticket.turn, "BUG: the seat has another occupant");
        &entry.outcome
    }

    pub(crate) fn waiter(&self, ticket: Ticket) -> &Waiter {
        &self.entry(ticket.seat).waiter
    }

    /// Whether the end of a wait would wake this waker.
    pub(crate) fn would_wake(&self, ticket: Ticket, waker: &Waker) -> bool {
        matches!(&self.entry(ticket.seat).outcome, Outcome::Waiting(known) if known.will_wake(waker))
    }

    /// Replaces the waker of a caller that still waits. Returns the old one, to be dropped where that can do no harm.
    pub(crate) fn renew_waker(&mut self, ticket: Ticket, waker: Waker) -> Waker {
        match &mut self.entry_mut(ticket.seat).outcome {
            Outcome::Waiting(old) => mem::replace(old, waker),
            _ => waker,
        }
    }

    /// Frees the seat, taking its holder out of the queue if it still waits.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Outcome<E> {
        if self.is_waiting(ticket) {
            self.unlink(ticket.seat);
        }
        let free = mem::replace(&mut self.free, ticket.seat);
        let entry = self.entry_mut(ticket.seat);
        debug_assert_eq!(entry.turn, ticket.turn, "BUG: the seat has another occupant");
        entry.turn = entry.turn.wrapping_add(1);
        entry.next = free;
        mem::replace(&mut entry.outcome, Outcome::Free)
    }

    /// Takes the wakers of those that wait in this part of the slab, to wake them: each leaves another when it comes. `None`: there is no
    /// such part.
    pub(crate) fn rouse(&mut self, part: usize) -> Option<impl Iterator<Item = Waker>> {
        let chunk = self.chunks.get_mut(part)?;
        Some(chunk.iter_mut().filter_map(|entry| match &mut entry.outcome {
            Outcome::Waiting(waker) => Some(mem::replace(waker, Waker::noop().clone())),
            _ => None,
        }))
    }

    /// The next deadline to watch.
    pub(crate) fn next_deadline(&self) -> Option<Ns> {
        self.most_urgent().map(|seat| self.entry(seat).waiter.deadline)
    }

    /// A caller whose time has run out, if there is one.
    pub(crate) fn due(&self, now: Ns) -> Option<Ticket> {
        let seat = self.most_urgent()?;
        (self.entry(seat).waiter.deadline <= now).then(|| self.ticket(seat))
    }

    fn most_urgent(&self) -> Option<Seat> {
        let soonest = (self.soonest != NONE).then_some(self.soonest);
        self.early.first().copied().into_iter().chain(soonest).min_by_key(|&seat| self.entry(seat).waiter.deadline)
    }

    /// Puts a waiter into the heap.
    fn watch_early(&mut self, seat: Seat) {
        self.early.push(seat);
        self.sift(self.early.len() - 1);
    }

    /// Takes a waiter out of the heap.
    fn unwatch_early(&mut self, seat: Seat) {
        let at = mem::replace(&mut self.entry_mut(seat).early, NONE) as usize;
        self.early.swap_remove(at);
        if at < self.early.len() {
            self.sift(at);
        }
    }

    /// Moves one up or down to where its deadline belongs.
    fn sift(&mut self, mut at: usize) {
        let seat = self.early[at];
        let deadline = self.entry(seat).waiter.deadline;
        let is_later = |queue: &Self, at: usize| queue.entry(queue.early[at]).waiter.deadline > deadline;
        while at > 0 && is_later(self, (at - 1) / 2) {
            let parent = self.early[(at - 1) / 2];
            self.put_early(at, parent);
            at = (at - 1) / 2;
        }
        loop {
            let children = (2 * at + 1..2 * at + 3).filter(|&child| child < self.early.len());
            let child = children.min_by_key(|&child| self.entry(self.early[child]).waiter.deadline);
            let Some(child) = child.filter(|&child| !is_later(self, child)) else { break };
            if self.entry(self.early[child]).waiter.deadline == deadline {
                break;
            }
            let sooner = self.early[child];
            self.put_early(at, sooner);
            at = child;
        }
        self.put_early(at, seat);
    }

    fn put_early(&mut self, at: usize, seat: Seat) {
        self.early[at] = seat;
        self.entry_mut(seat).early = at as u32;
    }

    fn ticket(&self, seat: Seat) -> Ticket {
        Ticket { seat, turn: self.entry(seat).turn }
    }

    fn entry(&self, seat: Seat) -> &Entry<E> {
        &self.chunks[seat as usize / CHUNK][seat as usize % CHUNK]
    }

    fn entry_mut(&mut self, seat: Seat) -> &mut Entry<E> {
        &mut self.chunks[seat as usize / CHUNK][seat as usize % CHUNK]
    }

    fn free_seat(&mut self, waiter: &Waiter) -> Seat {
        if self.free == NONE {
            let first = (self.chunks.len() * CHUNK) as Seat;
            let entry = |i| Entry {
                outcome: Outcome::Free,
                waiter: *waiter,
                number: 0,
                turn: 0,
                prev: NONE,
                next: if i + 1 < CHUNK as Seat { first + i + 1 } else { NONE },
                early: NONE,
                sooner: NONE,
                later: NONE,
            };
            self.chunks.push((0..CHUNK as Seat).map(entry).collect());
            self.free = first;
        }
        let seat = self.free;
        self.free = self.entry(seat).next;
        seat
    }

    fn link_last(&mut self, seat: Seat) {
        let tail = mem::replace(&mut self.tail, seat);
        let entry = self.entry_mut(seat);
        (entry.prev, entry.next) = (tail, NONE);
        match tail {
            NONE => self.head = seat,
            tail => self.entry_mut(tail).next = seat,
        }
        self.len += 1;
    }

    fn unlink(&mut self, seat: Seat) {
        match *self.entry(seat) {
            Entry { early: NONE, sooner, later, .. } => {
                match sooner {
                    NONE => self.soonest = later,
                    sooner => self.entry_mut(sooner).later = later,
                }
                match later {
                    NONE => self.latest = sooner,
                    later => self.entry_mut(later).sooner = sooner,
                }
            }
            _ => self.unwatch_early(seat),
        }
        let Entry { prev, next, .. } = *self.entry(seat);
        match prev {
            NONE => self.head = next,
            prev => self.entry_mut(prev).next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => self.entry_mut(next).prev = prev,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Site, state::SlotId};

    #[test]
    fn the_next_deadline_is_that_of_the_caller_whose_time_runs_out_first() {
        let mut queue = Queue::<()>::new();
        let caller = Caller { site: Site::here(), task: None, holds: None };
        let mut waiting: Vec<(Ns, Ticket)> = vec![];
        let (mut dice, mut crowd) = (1_u64, 0);
        for step in 0..20_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = (dice >> 33) as usize;
            if waiting.is_empty() || pick % 8 < 5 - 2 * usize::from(step > 10_000) {
                let deadline = if pick.is_multiple_of(3) { 1_000_000 + step } else { (pick % 1_000) as Ns };
                let waiter = Waiter { arrived: Arrival { at: 0, mark: 0 }, deadline, caller };
                waiting.push((deadline, queue.push(waiter, Waker::noop().clone())));
            } else {
                let (_, ticket) = waiting.swap_remove(pick % waiting.len());
                if pick.is_multiple_of(5) {
                    drop(queue.end(ticket, Outcome::Granted(0)));
                    queue.restore(ticket);
                }
                queue.leave(ticket);
            }
            crowd = crowd.max(waiting.len());
            let first = waiting.iter().map(|(deadline, _)| *deadline).min();
            assert_eq!((queue.next_deadline(), queue.len()), (first, waiting.len() as u32), "step {step}");
            let due = queue.due(first.unwrap_or(0)).map(|ticket| queue.waiter(ticket).deadline);
            assert_eq!(due, first, "step {step}");
        }
        assert!(crowd > 1_000, "a crowd was tried, too: {crowd}");
    }

    #[test]
    fn callers_that_came_at_one_moment_go_back_in_the_order_of_their_arrival() {
        let mut queue = Queue::<()>::new();
        let caller = Caller { site: Site::here(), task: None, holds: None };
        let waiter = Waiter { arrived: Arrival { at: 7, mark: 0 }, deadline: 9, caller };
        let push = |queue: &mut Queue<()>| queue.push(waiter, Waker::noop().clone());
        // The first to come gets a seat with a higher number than the second.
        let gone = push(&mut queue);
        let first = push(&mut queue);
        queue.leave(gone);
        let second = push(&mut queue);
        for (id, ticket) in [first, second].into_iter().enumerate() {
            drop(queue.end(ticket, Outcome::Granted(id as SlotId)));
        }
        let mut granted = [second, first];
        granted.sort_by_key(|ticket| queue.number(*ticket));
        assert_eq!(granted, [first, second]);
    }
}
