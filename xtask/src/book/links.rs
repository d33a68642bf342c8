//! Checks the links between rendered pages: each relative `href` and `src` leads to a file, each fragment to an `id`.
//!
//! Links to other hosts are not followed: a gate must not fail because somebody's server is down.

use std::{
    collections::{HashMap, HashSet},
    fmt, fs, io,
    path::{Component, Path, PathBuf},
};

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Links looked at.
    pub(crate) links: usize,
    pub(crate) broken: Vec<Broken>,
}

/// A link that leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    page: PathBuf,
    link: String,
    why: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.page.display(), self.link, self.why)
    }
}

/// Checks every page below a directory.
pub(crate) fn check(root: &Path) -> io::Result<Checked> {
    let pages: HashMap<PathBuf, Page> = pages_below(root)?;
    let mut checked = Checked::default();
    let mut names: Vec<_> = pages.keys().collect();
    names.sort();
    for name in names {
        for link in &pages[name].links {
            if is_external(link) {
                continue;
            }
            checked.links += 1;
            if let Some(why) = fault(root, &pages, name, link) {
                checked.broken.push(Broken { page: name.clone(), link: link.clone(), why });
            }
        }
    }
    Ok(checked)
}

#[derive(Debug)]
struct Page {
    ids: HashSet<String>,
    links: Vec<String>,
}

fn pages_below(root: &Path) -> io::Result<HashMap<PathBuf, Page>> {
    let mut pages = HashMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "html") {
                let html = fs::read_to_string(entry.path())?;
                let ids = attributes(&html, "id").collect();
                let links = attributes(&html, "href").chain(attributes(&html, "src")).collect();
                pages.insert(path, Page { ids, links });
            }
        }
    }
    Ok(pages)
}

fn fault(root: &Path, pages: &HashMap<PathBuf, Page>, page: &Path, link: &str) -> Option<&'static str> {
    let (path, fragment) = link.split_once('#').map_or((link, None), |(path, fragment)| (path, Some(fragment)));
    let path = path.split('?').next().unwrap_or_default();
    let target = if path.is_empty() { page.to_owned() } else { join(page.parent()?, &decode(path)) };
    let target = if root.join(&target).is_dir() { target.join("index.html") } else { target };
    if !root.join(&target).is_file() {
        return Some("there is no such page");
    }
    match (fragment, pages.get(&target)) {
        (Some(fragment), Some(page)) if !fragment.is_empty() && !page.ids.contains(&decode(fragment)) => {
            Some("the page has no such heading")
        }
        _ => None,
    }
}

fn is_external(link: &str) -> bool {
    let scheme = link.split(['/', '?', '#']).next().unwrap_or_default();
    link.starts_with("//") || scheme.contains(':')
}

/// The path from the book's top, without `.` and `..`.
fn join(directory: &Path, path: &str) -> PathBuf {
    let base = if path.starts_with('/') { Path::new("") } else { directory };
    let mut joined = PathBuf::new();
    for component in base.join(path.trim_start_matches('/')).components() {
        match component {
            Component::ParentDir => {
                joined.pop();
            }
            Component::Normal(part) => joined.push(part),
            _ => {}
        }
    }
    joined
}

/// The values of an attribute in all tags. What stands outside tags, in scripts, styles and comments is not looked at.
fn attributes<'a>(html: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    tags(html).into_iter().flat_map(move |tag| {
        let mut values = Vec::new();
        let mut rest = tag;
        while let Some((before, after)) = rest.split_once('=') {
            let key = before.trim_end().rsplit(|c: char| c.is_whitespace() || "\"'".contains(c)).next();
            let after = after.trim_start();
            let (value, tail) = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                _ => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            if key == Some(name) {
                values.push(unescape(value));
            }
            rest = tail;
        }
        values
    })
}

/// The insides of all opening tags.
fn tags(html: &str) -> Vec<&str> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let end = tag_end(rest);
        let tag = &rest[..end];
        rest = &rest[end..];
        if tag.starts_with(|c: char| c.is_ascii_alphabetic()) {
            tags.push(tag);
        }
        for raw in ["script", "style"] {
            let is_raw = tag.strip_prefix(raw).is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric()));
            if is_raw && let Some(close) = rest.find(&format!("</{raw}")) {
                rest = &rest[close..];
            }
        }
    }
    tags
}

/// Where a tag ends: at the first `>` that is not in quotes.
fn tag_end(tag: &str) -> usize {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '>') => return at,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    tag.len()
}

fn unescape(value: &str) -> String {
    value
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// Takes out `%20` and the like.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%').then(|| after.get(..2)).flatten();
        let value = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(value.unwrap_or(byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks pages that are written to a directory of their own, and gives what is broken.
    fn check_pages(test: &str, files: &[(&str, &str)]) -> (usize, Vec<String>) {
        let root = std::env::temp_dir().join(format!("pool-links-{}-{test}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let checked = check(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        (checked.links, checked.broken.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn missing_page_and_missing_heading_are_found() {
        let index =
            "<a href='guide/a.html#there'>1</a><a href=\"guide/b.html\">2</a><a href='guide/a.html#not-there'>3</a>";
        let (links, broken) = check_pages(
            "missing",
            &[("index.html", index), ("guide/a.html", "<h1 id='there'>A</h1><a href='../index.html'>")],
        );
        assert_eq!(links, 4);
        assert_eq!(
            broken,
            [
                "index.html: `guide/b.html`: there is no such page",
                "index.html: `guide/a.html#not-there`: the page has no such heading"
            ]
        );
    }

    #[test]
    fn missing_picture_is_found() {
        let (_, broken) = check_pages("picture", &[("a.html", "<img src='flow.svg' alt='x'>")]);
        assert_eq!(broken, ["a.html: `flow.svg`: there is no such page"]);
    }

    #[test]
    fn good_links_of_every_shape_are_accepted() {
        let page = "<h2 id='a&amp;b'>x</h2><h2 id='café'>y</h2>\
            <a href='#a&amp;b'></a><a href='#caf%C3%A9'></a><a href='/sub/'></a><a href='a.html?x=1'></a><a href='#'></a>";
        let (links, broken) = check_pages("good", &[("a.html", page), ("sub/index.html", "")]);
        assert_eq!((links, broken), (5, vec![]));
    }

    #[test]
    fn what_is_no_link_of_ours_is_left_alone() {
        let page = "<a href='https://example.org/x'></a><a href='mailto:a@example.org'></a><a href='//example.org'></a>\
            <script>var a = \"<a href='no.html'>\";</script><!-- <a href='no.html'> --><p>href='no.html'</p><p data-href='no.html'>";
        assert_eq!(check_pages("others", &[("a.html", page)]), (0, vec![]));
    }
}
