//! The words that statements begin with.

use super::token::continues_a_word;

/// Declares the keywords. Each variant is spelt as its word, so that the word is written once.
macro_rules! keywords {
    ($($word:ident)*) => {
        /// The word that a statement begins with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Keyword {
            $($word,)*
            /// A word that no rule mentions, or no word at all.
            Other,
        }

        impl Keyword {
            /// The keyword that a text begins with, in any case.
            pub(super) fn of(text: &str) -> Self {
                match packed(text) {
                    $(packed_word if packed_word == const { packed(stringify!($word)) } => Self::$word,)*
                    _ => Self::Other,
                }
            }
        }
    };
}

keywords! {
    Abort Alter Analyze Attach Begin Cache Call Change Check Comment Commit Create Deallocate Declare Delete Discard Do Drop End
    Execute Explain Fetch Flush Grant Insert Install Listen Load Lock Merge Notify Optimize Pragma Prepare Refresh Reindex Release
    Rename Repair Replace Reset Revoke Rollback Savepoint Select Set Show Start Stop Table Truncate Uninstall Unlisten Unlock
    Update Vacuum Values With
}

/// The word that a text begins with in one number, whatever the case of its letters. No keyword is longer than the number, and a longer
/// word is 0.
///
/// The bit that makes a letter lower case turns no other byte of a word into a letter.
const fn packed(text: &str) -> u128 {
    let text = text.as_bytes();
    let (mut number, mut at) = (0, 0);
    while at < text.len() && continues_a_word(text[at]) {
        if at == size_of::<u128>() {
            return 0;
        }
        number = number << 8 | (text[at] | 0x20) as u128;
        at += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_known_in_any_case_and_no_other_word_is_taken_for_it() {
        #[track_caller]
        fn check(word: &str, expected: Keyword) {
            assert_eq!(Keyword::of(word), expected, "{word}");
        }
        check("select", Keyword::Select);
        check("SELECT", Keyword::Select);
        check("dEaLLoCaTe", Keyword::Deallocate);
        check("do", Keyword::Do);
        check("do\n$$ begin", Keyword::Do);
        for other in ["", "selec", "selects", "\0\0do", "d\u{4f}é", "a_word_of_more_than_sixteen_letters", "é"] {
            check(other, Keyword::Other);
        }
    }
}
