//! Checks the links between rendered pages: each relative `href` and `src` leads to a file, each fragment to an `id`.
//!
//! Links to other hosts are not followed: a gate must not fail because a server elsewhere is down.

use html5ever::tokenizer::{
    BufferQueue, StartTag, TagToken, Token, TokenSink, TokenSinkResult, Tokenizer, states::RawKind,
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};
use url::Url;

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Links looked at.
    pub(crate) links: usize,
    /// Those that lead nowhere, with their page and the reason.
    pub(crate) broken: Vec<String>,
}

/// Checks every page below a directory.
pub(crate) fn check(root: &Path) -> io::Result<Checked> {
    let pages = pages_below(root)?;
    let mut checked = Checked::default();
    for (name, page) in &pages {
        for link in &page.links {
            let Some(fault) = fault(root, &pages, name, link) else { continue };
            checked.links += 1;
            checked.broken.extend(fault.map(|why| format!("{}: `{link}`: {why}", name.display())));
        }
    }
    Ok(checked)
}

/// What is wrong with a link; none if it leads to another host.
fn fault(root: &Path, pages: &BTreeMap<PathBuf, Page>, page: &Path, link: &str) -> Option<Option<&'static str>> {
    // As if the book were all there is.
    let base = Url::from_file_path(Path::new("/").join(page)).ok()?;
    let url = base.join(link).ok()?;
    if url.scheme() != "file" || url.has_host() {
        return None;
    }
    let mut target = url.to_file_path().ok()?.strip_prefix("/").ok()?.to_owned();
    if root.join(&target).is_dir() {
        target.push("index.html");
    }
    let fragment = url.fragment().unwrap_or_default();
    Some(match pages.get(&target) {
        _ if !root.join(&target).is_file() => Some("there is no such page"),
        Some(page) if !fragment.is_empty() && !page.ids.contains(fragment) => Some("the page has no such heading"),
        _ => None,
    })
}

fn pages_below(root: &Path) -> io::Result<BTreeMap<PathBuf, Page>> {
    let mut pages = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "html") {
                pages.insert(path, Page::read(&fs::read_to_string(entry.path())?));
            }
        }
    }
    Ok(pages)
}

#[derive(Debug, Default)]
struct Page {
    /// As a URL writes them.
    ids: HashSet<String>,
    links: Vec<String>,
}

impl Page {
    fn read(html: &str) -> Self {
        let tokenizer = Tokenizer::new(Reader::default(), Default::default());
        let input = BufferQueue::default();
        input.push_back(html.into());
        let _ = tokenizer.feed(&input);
        tokenizer.end();
        tokenizer.sink.0.into_inner()
    }
}

#[derive(Default)]
struct Reader(RefCell<Page>);

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let TagToken(tag) = token else { return TokenSinkResult::Continue };
        if tag.kind != StartTag {
            return TokenSinkResult::Continue;
        }
        let mut page = self.0.borrow_mut();
        for attribute in tag.attrs {
            match &*attribute.name.local {
                "id" => {
                    let mut url = Url::parse("file:///").expect("BUG: it is a URL");
                    url.set_fragment(Some(&attribute.value));
                    page.ids.extend(url.fragment().map(str::to_owned));
                }
                "href" | "src" => page.links.push(attribute.value.to_string()),
                _ => {}
            }
        }
        match &*tag.name {
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "style" => TokenSinkResult::RawData(RawKind::Rawtext),
            _ => TokenSinkResult::Continue,
        }
    }
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
        (checked.links, checked.broken)
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
