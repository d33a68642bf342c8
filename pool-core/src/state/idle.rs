//! The idle connections, in the order in which they came home.

use super::SlotId;

const NONE: SlotId = SlotId::MAX;

/// A stack (LIFO) or a queue (FIFO) of idle slots. The front was returned longest ago in both.
///
/// Linked, so that one is taken out of the middle in the same time however many there are.
pub(crate) struct Idle {
    /// Neighbours by slot. What a slot that is not idle has here means nothing.
    links: Vec<Link>,
    front: SlotId,
    back: SlotId,
    len: u32,
    lifo: bool,
}

#[derive(Clone, Copy)]
struct Link {
    prev: SlotId,
    next: SlotId,
}

impl Idle {
    pub(crate) fn new(lifo: bool) -> Self {
        Self { links: Vec::new(), front: NONE, back: NONE, len: 0, lifo }
    }

    pub(crate) fn set_lifo(&mut self, lifo: bool) {
        self.lifo = lifo;
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn push(&mut self, id: SlotId) {
        self.link(id, self.back, NONE);
    }

    /// Puts one back where it was: before those that came home later.
    pub(crate) fn put_back(&mut self, id: SlotId, came_later: impl Fn(SlotId) -> bool) {
        let later = self.iter().find(|&other| came_later(other));
        let (prev, next) = later.map_or((self.back, NONE), |later| (self.links[later as usize].prev, later));
        self.link(id, prev, next);
    }

    /// The one that is lent next.
    pub(crate) fn peek(&self) -> Option<SlotId> {
        let next = if self.lifo { self.back } else { self.front };
        (next != NONE).then_some(next)
    }

    /// The one that came home longest ago.
    pub(crate) fn oldest(&self) -> Option<SlotId> {
        (self.front != NONE).then_some(self.front)
    }

    pub(crate) fn remove(&mut self, id: SlotId) {
        let Link { prev, next } = self.links[id as usize];
        match prev {
            NONE => self.front = next,
            prev => self.links[prev as usize].next = next,
        }
        match next {
            NONE => self.back = prev,
            next => self.links[next as usize].prev = prev,
        }
        self.len -= 1;
    }

    /// All, the one that came home longest ago first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.walk(self.front, |link| link.next)
    }

    /// All, the one that is lent next first.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = SlotId> + '_ {
        let (start, step): (_, fn(Link) -> SlotId) = match self.lifo {
            true => (self.back, |link| link.prev),
            false => (self.front, |link| link.next),
        };
        self.walk(start, step)
    }

    fn walk(&self, start: SlotId, step: impl Fn(Link) -> SlotId) -> impl Iterator<Item = SlotId> {
        let some = |id| (id != NONE).then_some(id);
        std::iter::successors(some(start), move |&id| some(step(self.links[id as usize])))
    }

    fn link(&mut self, id: SlotId, prev: SlotId, next: SlotId) {
        let none = Link { prev: NONE, next: NONE };
        if self.links.len() <= id as usize {
            self.links.resize(id as usize + 1, none);
        }
        self.links[id as usize] = Link { prev, next };
        match prev {
            NONE => self.front = id,
            prev => self.links[prev as usize].next = id,
        }
        match next {
            NONE => self.back = id,
            next => self.links[next as usize].prev = id,
        }
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_what_is_taken_from_and_put_into_the_middle() {
        for lifo in [true, false] {
            let mut idle = Idle::new(lifo);
            (0..5).for_each(|id| idle.push(id));
            idle.remove(2);
            idle.remove(0);
            idle.put_back(2, |other| other > 2);
            idle.put_back(0, |other| other > 0);
            idle.remove(4);
            idle.put_back(4, |_| false);
            assert_eq!(idle.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
            let mut in_turn: Vec<_> = idle.in_turn().collect();
            assert_eq!((in_turn.first().copied(), idle.oldest()), (idle.peek(), Some(0)));
            if lifo {
                in_turn.reverse();
            }
            assert_eq!(in_turn, [0, 1, 2, 3, 4]);
            (0..5).for_each(|id| idle.remove(id));
            assert_eq!((idle.len(), idle.peek(), idle.oldest()), (0, None, None));
        }
    }
}
