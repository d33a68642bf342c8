//! How long each place in the code held its connections.

use super::Ns;
use crate::{Histogram, Site, SiteTimings};

/// Sites that are told apart; later ones share a histogram, so that a program that makes sites without end does not fill memory or
/// a dashboard.
const SITES: usize = 64;
/// Twice as many, so that a look-up seldom goes past its first seat. A power of two.
const SEATS: usize = 128;

pub(super) struct Sites {
    /// Indices into `known`, plus one; 0 is free.
    seats: [u8; SEATS],
    known: Vec<SiteTimings>,
    others: Option<Histogram>,
}

impl Sites {
    pub(super) fn new() -> Self {
        Self { seats: [0; SEATS], known: Vec::new(), others: None }
    }

    pub(super) fn record(&mut self, site: Site, held: Ns) {
        let mut seat = site.spread() as usize % SEATS;
        let hold = loop {
            match self.seats[seat] {
                0 if self.known.len() == SITES => break self.others.get_or_insert_with(Histogram::new),
                0 => {
                    self.known.push(SiteTimings { site, hold: Histogram::new() });
                    self.seats[seat] = self.known.len() as u8;
                }
                n => {
                    let known = usize::from(n) - 1;
                    if self.known[known].site.is(&site) {
                        break &mut self.known[known].hold;
                    }
                    seat = (seat + 1) % SEATS;
                }
            }
        };
        hold.record(held);
    }

    /// Of all sites together.
    pub(super) fn hold(&self) -> Histogram {
        let mut all = self.others.clone().unwrap_or_else(Histogram::new);
        self.known.iter().for_each(|known| all.add(&known.hold));
        all
    }

    /// Of each, those that held the longest in all first.
    pub(super) fn timings(&self) -> Vec<SiteTimings> {
        let mut found: Vec<SiteTimings> = Vec::with_capacity(self.known.len() + 1);
        for known in &self.known {
            // Compiled twice, one place in the code has two addresses.
            match found.iter_mut().find(|found| found.site == known.site) {
                Some(found) => found.hold.add(&known.hold),
                None => found.push(known.clone()),
            }
        }
        if let Some(hold) = &self.others {
            found.push(SiteTimings { site: Site::nowhere("all other sites"), hold: hold.clone() });
        }
        found.sort_by_key(|found| std::cmp::Reverse(found.hold.sum()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_site_has_its_own_histogram_until_there_are_too_many() {
        let names: Vec<&'static str> = (0..100).map(|i| &*Box::leak(format!("site {i}").into_boxed_str())).collect();
        let mut sites = Sites::new();
        for _ in 0..3 {
            names.iter().for_each(|name| sites.record(Site::nowhere(name), 1_000));
        }
        sites.record(Site::nowhere(names[7]), 1_000_000);
        let timings = sites.timings();
        assert_eq!(timings.len(), SITES + 1);
        assert_eq!((timings[0].site.name(), timings[0].hold.count()), (Some("site 7"), 4));
        let others = timings.iter().find(|t| t.site.name() == Some("all other sites")).map(|t| t.hold.count());
        assert_eq!(others, Some(3 * (100 - SITES as u64)));
        assert_eq!((sites.hold().count(), sites.hold().sum()), (301, Duration::from_micros(1_300)));
    }

    #[test]
    fn a_site_with_two_addresses_is_reported_once() {
        let (one, other): (&'static str, &'static str) =
            (Box::leak("a".repeat(3).into()), Box::leak("a".repeat(3).into()));
        let mut sites = Sites::new();
        sites.record(Site::nowhere(one), 5);
        sites.record(Site::nowhere(other), 5);
        assert_eq!(sites.timings().iter().map(|t| t.hold.count()).collect::<Vec<_>>(), [2]);
    }
}
