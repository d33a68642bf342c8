//! Who holds what, and for how long.

use super::{
    Ns,
    live::{Phase, Slots},
    time,
};
use crate::{Holder, Site};

/// Sites that hold connections, the longest holder first.
pub(crate) fn holders<C>(slots: &Slots<C>, now: Ns) -> Vec<Holder> {
    let mut found: Vec<Holder> = Vec::new();
    for (_, slot) in slots.iter().filter(|(_, slot)| slot.phase() == Phase::Lent) {
        let held = time(now.saturating_sub(slot.since));
        match found.iter_mut().find(|holder| holder.site == slot.site) {
            Some(holder) => (holder.count, holder.longest) = (holder.count + 1, holder.longest.max(held)),
            None => found.push(holder(slot.site, held)),
        }
    }
    found.sort_by(|a, b| b.longest.cmp(&a.longest).then(b.count.cmp(&a.count)));
    found
}

fn holder(site: Site, longest: std::time::Duration) -> Holder {
    Holder { site, count: 1, longest }
}
