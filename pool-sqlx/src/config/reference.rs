//! The settings as data: what the reader, the environment, the did-you-mean and the reference page know of them.

use super::{
    DatabaseSettings,
    settings::{database_settings, field},
    value::{SettingKind, SettingValue},
};
use figment::value::Value;
use std::sync::LazyLock;

/// One row of the settings table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Setting {
    /// Key in `Pool.toml`, and name of the field.
    pub key: &'static str,
    /// What it can be set to.
    pub kind: SettingKind,
    /// Default, as one would write it, or in words.
    pub default: String,
    /// What it does, in a line.
    pub meaning: &'static str,
    /// Names that other pools and drivers give it.
    pub(super) aliases: &'static [&'static str],
    /// Reads the value into the field. The error says what was found and what was expected.
    pub(super) set: fn(&mut DatabaseSettings, &Value) -> Result<(), String>,
}

impl Setting {
    /// Environment variable for the primary database, such as `DATABASE_POOL_SIZE`.
    pub fn variable(&self) -> String {
        format!("DATABASE_{}", self.key.to_ascii_uppercase())
    }
}

/// Every setting of a database, in the order of the reference page.
pub fn reference() -> &'static [Setting] {
    static REFERENCE: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let mut pools = pool_core::__settings!(rows, [pool]);
        for setting in pools.iter_mut().filter(|setting| setting.key == "pool_timeout") {
            // The reader has it follow.
            setting.default = "as `connection_timeout`".to_owned();
        }
        let mut all = Vec::from(database_settings!(rows, []));
        // What says where the database is comes first, then what every pool has.
        all.splice(3..3, pools);
        all
    });
    &REFERENCE
}

macro_rules! rows {
    ($place:tt $(
        #[doc = $meaning:literal] $(#[doc = $more:literal])* $(#[doc(alias = $alias:literal)])*
        $vis:vis $key:ident: $ty:ty = $default:tt $($unit:ident)? $(, $words:literal)? $(, $setter:ident($arg:ty))?;
    )*) => {{
        let defaults = DatabaseSettings::defaults();
        [$(Setting {
            key: stringify!($key),
            kind: kind(&field!($place defaults $key)),
            default: default(&[$($words)?], &field!($place defaults $key)),
            meaning: $meaning.trim(),
            aliases: &[$($alias),*],
            set: |settings, value| Ok(field!($place settings $key) = SettingValue::read(value)?),
        }),*]
    }};
}

use rows;

fn kind<T: SettingValue>(_: &T) -> SettingKind {
    T::KIND
}

/// In words if there are any, else as one would write it.
fn default(words: &[&str], value: &impl SettingValue) -> String {
    words.first().map_or_else(|| value.written(), |words| (*words).to_owned())
}

/// The key of the setting that other pools and drivers call by this name.
pub(super) fn by_alias(alias: &str) -> Option<&'static str> {
    reference().iter().find(|setting| setting.aliases.contains(&alias)).map(|setting| setting.key)
}

/// The key that was probably meant.
pub(super) fn did_you_mean(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    by_alias(&key).or_else(|| super::fault::nearest(&key, reference().iter().map(|setting| setting.key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_names_one_setting_and_is_none_itself() {
        for setting in reference() {
            for alias in setting.aliases {
                assert_eq!(by_alias(alias), Some(setting.key), "{alias}");
                assert!(reference().iter().all(|other| other.key != *alias), "{alias}");
            }
        }
    }

    #[test]
    fn did_you_mean_knows_slips_and_other_pools_words() {
        assert_eq!(did_you_mean("pool_sise"), Some("pool_size"));
        assert_eq!(did_you_mean("acquire_timeout"), Some("pool_timeout"));
        assert_eq!(did_you_mean("colour"), None);
    }
}
