//! The callers that wait, in order of arrival.
//!
//! A waiter is a number: a seat in a slab, linked to its neighbours, unlinked at once when it is served or leaves. What it was
//! given stays in the seat until it collects. There is no timer, channel or allocation for each waiter: the slab grows in chunks,
//! so that no step copies what is there.

use super::{Arrival, Caller};
use super::{Ns, live::SlotId};
use crate::{Verdict, error::ConnectError};
use std::{cmp::Reverse, collections::BinaryHeap, mem, task::Waker};

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
    /// Its deadline is earlier than that of somebody before it, so the heap watches it.
    early: bool,
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
    /// The first waiter that the heap does not watch. Those have their deadlines in queue order.
    ordered: Seat,
    /// The latest deadline among the ordered.
    latest: Ns,
    /// Deadlines out of queue order; entries of waiters that are gone are skipped.
    early: BinaryHeap<Reverse<(Ns, Ticket)>>,
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
            ordered: NONE,
            latest: 0,
            early: BinaryHeap::new(),
        }
    }

    /// Callers waiting.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a caller at the end.
    pub(crate) fn push(&mut self, waiter: Waiter, waker: Waker) -> Ticket {
        let seat = self.free_seat(&waiter);
        let early = self.ordered != NONE && waiter.deadline < self.latest;
        self.pushed += 1;
        let number = self.pushed;
        let entry = self.entry_mut(seat);
        entry.outcome = Outcome::Waiting(waker);
        (entry.waiter, entry.number, entry.early) = (waiter, number, early);
        let ticket = Ticket { seat, turn: entry.turn };
        self.link_last(seat);
        if early {
            self.early.push(Reverse((waiter.deadline, ticket)));
        } else {
            self.latest = waiter.deadline;
            if self.ordered == NONE {
                self.ordered = seat;
            }
        }
        ticket
    }

    /// The caller that has waited longest.
    pub(crate) fn first(&self) -> Option<(Ticket, &Waiter)> {
        (self.head != NONE).then(|| (self.ticket(self.head), &self.entry(self.head).waiter))
    }

    /// Everybody who waits, in order.
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
        let deadline = self.entry(seat).waiter.deadline;
        let entry = self.entry_mut(seat);
        entry.outcome = Outcome::Waiting(Waker::noop().clone());
        entry.early = true;
        self.early.push(Reverse((deadline, ticket)));
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

    /// Copies of all wakers, leaving them in place.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        self.iter()
            .filter_map(|(ticket, _)| match self.outcome(ticket) {
                Outcome::Waiting(waker) => Some(waker.clone()),
                _ => None,
            })
            .collect()
    }

    /// The next deadline to watch.
    pub(crate) fn next_deadline(&mut self) -> Option<Ns> {
        self.skip_stale();
        let early = self.early.peek().map(|Reverse((deadline, _))| *deadline);
        let ordered = (self.ordered != NONE).then(|| self.entry(self.ordered).waiter.deadline);
        early.into_iter().chain(ordered).min()
    }

    /// A caller whose time has run out, if there is one.
    pub(crate) fn due(&mut self, now: Ns) -> Option<Ticket> {
        self.skip_stale();
        if let Some(Reverse((deadline, ticket))) = self.early.peek().copied()
            && deadline <= now
        {
            return Some(ticket);
        }
        (self.ordered != NONE && self.entry(self.ordered).waiter.deadline <= now).then(|| self.ticket(self.ordered))
    }

    fn skip_stale(&mut self) {
        while let Some(Reverse((_, ticket))) = self.early.peek().copied() {
            if self.is_waiting(ticket) {
                return;
            }
            self.early.pop();
        }
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
                early: false,
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
        if seat == self.ordered {
            // Moves forward only, so a waiter is passed over once in its life.
            let mut next = self.entry(seat).next;
            while next != NONE && self.entry(next).early {
                next = self.entry(next).next;
            }
            self.ordered = next;
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
        // Stale entries are skipped when they reach the top; when they outnumber the living, they go at once.
        if self.early.len() as u32 > 2 * self.len + CHUNK as u32 {
            let mut early = mem::take(&mut self.early);
            early.retain(|Reverse((_, ticket))| ticket.seat != seat && self.is_waiting(*ticket));
            self.early = early;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Site, state::live::SlotId};

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
