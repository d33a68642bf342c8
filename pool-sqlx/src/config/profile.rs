//! Profiles that are selected and not declared.

use figment::Figment;

use super::fault::nearest;
use crate::words::secret::quotable;

/// Names that people give to one profile.
const SAME: [&[&str]; 4] = [
    &["dev", "development", "debug", "local"],
    &["production", "prod", "release", "live"],
    &["staging", "stage", "preprod"],
    &["test", "testing", "tests"],
];

/// A profile that the file does not declare is legal, and then `[default]` alone counts; but it is probably a mistake if the profile
/// was asked for by name, or if one of nearly this name is declared. Figment's profiles know no case.
pub(super) fn unknown(figment: &Figment, is_named: bool) -> Option<String> {
    let declared: Vec<String> =
        figment.profiles().map(|profile| profile.as_str().as_str().to_ascii_lowercase()).collect();
    if declared.is_empty() {
        return None;
    }
    let selected = figment.profile().as_str().as_str().to_ascii_lowercase();
    for wanted in [selected.as_str(), "default"] {
        if declared.iter().any(|name| name == wanted) {
            continue;
        }
        let others = || declared.iter().map(String::as_str).filter(|name| !["default", "global"].contains(name));
        let same = SAME.iter().find(|names| names.contains(&wanted)).copied().unwrap_or_default();
        let meant =
            others().find(|name| same.contains(name)).or_else(|| nearest(wanted, declared.iter().map(String::as_str)));
        if let Some(meant) = meant {
            let (wanted, meant) = (quotable(wanted), quotable(meant));
            return Some(format!("there is no profile {wanted}; did you mean {meant}, which there is?"));
        }
        // These two are what builds select: a file need not speak of both.
        if is_named && wanted == selected && !["default", "dev", "production"].contains(&wanted) {
            let there_are = declared.iter().map(|name| quotable(name)).collect::<Vec<_>>().join(", ");
            let wanted = quotable(wanted);
            return Some(format!("there is no profile {wanted}, which POOL_PROFILE asks for; there are: {there_are}"));
        }
    }
    None
}
