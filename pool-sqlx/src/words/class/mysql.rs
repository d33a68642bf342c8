//! What the error numbers of MySQL and MariaDB mean.

use super::Class;
use sqlx::mysql::MySqlDatabaseError;

pub(super) fn classify(error: &MySqlDatabaseError) -> Class {
    class(error.number())
}

/// The table: a new number is a row here and a row in the test.
fn class(number: u16) -> Class {
    match number {
        1969 | 3024 => Class::StatementTimeout,
        1317 => Class::Cancelled,
        // 1206: no more room for locks, which rolls everything back.
        1205 | 1206 | 3572 => Class::LockTimeout,
        // 1020: MariaDB, a row that changed since the snapshot.
        1213 | 1020 | 3101 => Class::Conflict,
        1040 | 1203 | 1226 => Class::Overloaded,
        1053 | 1077 | 1927 | 4031 | 1152..=1161 => Class::Lost,
        1044 | 1045 | 1049 | 1129 | 1130 | 1251 | 1698 => Class::Denied,
        _ => Class::Query,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_class() {
        fn check(numbers: impl IntoIterator<Item = u16>, expected: Class) {
            for number in numbers {
                assert_eq!(class(number), expected, "{number}");
            }
        }
        check([1969, 3024], Class::StatementTimeout);
        check([1317], Class::Cancelled);
        check([1205, 1206, 3572], Class::LockTimeout);
        check([1213, 1020, 3101], Class::Conflict);
        check([1040, 1203, 1226], Class::Overloaded);
        check([1053, 1077, 1927, 4031], Class::Lost);
        check(1152..=1161, Class::Lost);
        check([1044, 1045, 1049, 1129, 1130, 1251, 1698], Class::Denied);
        check([0, 1062, 1064, 1151, 1162], Class::Query);
    }
}
