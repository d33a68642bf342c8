//! Running cargo and other programs from the top of the workspace.

use std::{
    io::{self, BufRead, BufReader, IsTerminal, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::LazyLock,
};

/// The features and packages of every build, the same each time so that nothing is built twice.
pub(crate) const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// The top of the workspace.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let xtask = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&xtask).parent().expect("BUG: xtask is a directory of the workspace").to_owned()
    });
    &ROOT
}

/// A cargo command, the same cargo that started us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    // What cargo told us of ourselves. The build script of `ring` is run again when it changes, and then everything that needs TLS.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Whether that cargo subcommand is there.
pub(crate) fn has(subcommand: &str) -> bool {
    let mut probe = cargo(&[subcommand, "--version"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether nobody is watching, so that what is missing is a failure and not a remark.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// The stream of a program that we want to read.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Runs a program, passes one of its streams on as it comes, and gives its lines too, without colours.
pub(crate) fn tee(mut command: Command, stream: Stream) -> io::Result<(ExitStatus, Vec<String>)> {
    match stream {
        Stream::Out => command.stdout(Stdio::piped()),
        Stream::Err => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn()?;
    let source: Box<dyn Read> = match stream {
        Stream::Out => Box::new(child.stdout.take().expect("BUG: it was piped")),
        Stream::Err => Box::new(child.stderr.take().expect("BUG: it was piped")),
    };
    let mut lines = Vec::new();
    for line in BufReader::new(source).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        match stream {
            Stream::Out => println!("{line}"),
            Stream::Err => eprintln!("{line}"),
        }
        lines.push(without_colours(&line));
    }
    Ok((child.wait()?, lines))
}

/// `--color` for a program whose stream we read: it sees a pipe, but a person may see what we pass on.
pub(crate) fn colour(stream: Stream) -> &'static str {
    let is_terminal = match stream {
        Stream::Out => io::stdout().is_terminal(),
        Stream::Err => io::stderr().is_terminal(),
    };
    if is_terminal { "--color=always" } else { "--color=never" }
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = escape.find(|c: char| c.is_ascii_alphabetic()).map_or("", |end| &escape[end + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(without_colours("\u{1b}[1m  \u{1b}[32;1mPASS\u{1b}[0m [ 1s]"), "  PASS [ 1s]");
    }

    #[test]
    fn teed_lines_are_read_and_the_status_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one >&2; echo two >&2; exit 3"]);
        let (status, lines) = tee(command, Stream::Err).unwrap();
        assert_eq!((status.code(), lines), (Some(3), vec!["one".to_owned(), "two".to_owned()]));
    }
}
