//! Which file of a crate uses which: every name in the code, followed through `use` lines and re-exports to the file that has the item.
//!
//! What needs types to be found is not seen: a method or a field of a type of another file.

use super::source::{Finding, Source};
use proc_macro2::{Ident, TokenStream, TokenTree};
use std::collections::{BTreeMap, HashMap, HashSet};
use syn::{
    Attribute, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

/// A path as it is written, or that of a module from the crate's root. A glob ends in `*`.
pub(super) type Names = Vec<String>;

/// Re-exports that lead to re-exports: more than this is `use a as a`.
const HOPS: usize = 16;

/// The modules of a crate, its tests aside.
#[derive(Debug, Default)]
pub(super) struct Crate<'a> {
    pub(super) modules: BTreeMap<Names, Module<'a>>,
}

/// A module, inline or a file of its own.
#[derive(Debug, Default)]
pub(super) struct Module<'a> {
    pub(super) file: &'a str,
    /// The module that is the file itself.
    home: Names,
    /// Every path that the module names.
    pub(super) paths: Vec<Named>,
    items: HashSet<String>,
    imports: HashMap<String, Names>,
    globs: Vec<Names>,
}

/// A path that stands in the code.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) names: Names,
    pub(super) line: usize,
    is_reexport: bool,
}

/// One file uses another.
#[derive(Debug)]
pub(super) struct Use<'a> {
    /// The modules that the files are.
    pub(super) from: &'a [String],
    pub(super) to: &'a [String],
    pub(super) file: &'a str,
    pub(super) line: usize,
    pub(super) by: String,
}

impl<'a> Crate<'a> {
    /// Reads the files that the crate's root declares, and those that they declare; empty if there is no such crate.
    pub(super) fn read(name: &str, sources: &'a [Source]) -> Result<Self, Finding> {
        let source = |path: String| sources.iter().find(|source| source.path == path);
        let root = ["lib", "main"].iter().find_map(|root| source(format!("{name}/src/{root}.rs")));
        let mut open: Vec<(Names, &Source)> = root.map(|root| (Names::new(), root)).into_iter().collect();
        let mut modules = BTreeMap::new();
        while let Some((home, source_of_it)) = open.pop() {
            let parsed = syn::parse_file(&source_of_it.text).map_err(|error| Finding {
                file: source_of_it.path.clone(),
                line: error.span().start().line,
                what: error.to_string(),
            })?;
            let file = &source_of_it.path;
            let mut reader = Reader { file, here: home.clone(), home, modules: &mut modules, declared: Vec::new() };
            reader.module();
            reader.visit_file(&parsed);
            for child in reader.declared {
                let path = format!("{name}/src/{}", child.join("/"));
                let found = source(format!("{path}.rs")).or_else(|| source(format!("{path}/mod.rs")));
                open.extend(found.map(|found| (child, found)));
            }
        }
        Ok(Self { modules })
    }

    /// Every use of another file, once. A module that re-exports what its own modules have is their face, and uses nothing by that.
    pub(super) fn uses(&self) -> Vec<Use<'_>> {
        let mut uses = Vec::new();
        let mut seen = HashSet::new();
        for (at, module) in &self.modules {
            for named in &module.paths {
                let Some(to) = self.target(at, &named.names) else { continue };
                let (from, to) = (&module.home, &self.modules[&to].home);
                let is_face = named.is_reexport && to.starts_with(from);
                if from != to && !is_face && seen.insert((from, to)) {
                    uses.push(Use { from, to, file: module.file, line: named.line, by: named.names.join("::") });
                }
            }
        }
        uses
    }

    /// The module that has the item; none for what is a module or is not of this crate.
    fn target(&self, at: &[String], names: &[String]) -> Option<Names> {
        match names.split_last()? {
            (last, glob) if last == "*" => self.follow(at, glob, true, HOPS).map(|(module, _)| module),
            _ => self.follow(at, names, true, HOPS).filter(|(_, is_item)| *is_item).map(|(module, _)| module),
        }
    }

    /// The module to which a path leads, or that has the item to which it leads. A first name that must be known is a module, an item or
    /// an import; after a module of ours a name can only be an item, even if a macro made it.
    fn follow(&self, at: &[String], names: &[String], must_be_known: bool, hops: usize) -> Option<(Names, bool)> {
        let Some((first, rest)) = names.split_first() else { return Some((at.to_vec(), false)) };
        let (module, hops) = (self.modules.get(at)?, hops.checked_sub(1)?);
        let child = [at, std::slice::from_ref(first)].concat();
        match first.as_str() {
            "crate" => return self.follow(&[], rest, false, hops),
            "self" => return self.follow(at, rest, false, hops),
            "super" => return self.follow(&at[..at.len().checked_sub(1)?], rest, false, hops),
            _ if !rest.is_empty() && self.modules.contains_key(&child) => {
                return self.follow(&child, rest, false, hops);
            }
            _ => {}
        }
        if module.items.contains(first) {
            return Some((at.to_vec(), true));
        }
        if let Some(import) = module.imports.get(first) {
            return self.follow(at, &[import.as_slice(), rest].concat(), true, hops);
        }
        if self.modules.contains_key(&child) {
            return Some((child, false));
        }
        let from_glob = module.globs.iter().find_map(|glob| match self.follow(at, glob, true, hops)? {
            (module, false) => self.follow(&module, names, true, hops),
            (_, true) => None,
        });
        from_glob.or_else(|| (!must_be_known).then(|| (at.to_vec(), true)))
    }
}

/// Reads one file.
struct Reader<'a, 'm> {
    file: &'a str,
    home: Names,
    /// The module that is being read: the file's, or one that is inline in it.
    here: Names,
    modules: &'m mut BTreeMap<Names, Module<'a>>,
    /// The modules that are files of their own.
    declared: Vec<Names>,
}

impl<'a> Reader<'a, '_> {
    fn module(&mut self) -> &mut Module<'a> {
        let new = || Module { file: self.file, home: self.home.clone(), ..Module::default() };
        self.modules.entry(self.here.clone()).or_insert_with(new)
    }

    fn name(&mut self, names: Names, at: &Ident, is_reexport: bool) {
        let line = at.span().start().line;
        self.module().paths.push(Named { names, line, is_reexport });
    }

    fn tree(&mut self, tree: &UseTree, mut names: Names, is_reexport: bool) {
        let (last, name) = match tree {
            UseTree::Path(path) => {
                names.push(path.ident.to_string());
                return self.tree(&path.tree, names, is_reexport);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.tree(tree, names.clone(), is_reexport));
            }
            UseTree::Glob(glob) => {
                self.module().globs.push(names.clone());
                names.push("*".into());
                let line = glob.star_token.span.start().line;
                return self.module().paths.push(Named { names, line, is_reexport });
            }
            UseTree::Name(last) => (&last.ident, &last.ident),
            UseTree::Rename(last) => (&last.ident, &last.rename),
        };
        let mut name = name.to_string();
        if last == "self" {
            name = names.last().filter(|_| name == "self").cloned().unwrap_or(name);
        } else {
            names.push(last.to_string());
        }
        self.name(names.clone(), last, is_reexport);
        self.module().imports.insert(name, names);
    }

    /// The paths in what a macro takes, which has no grammar that we know.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                // A field or a method follows.
                TokenTree::Punct(sign) if sign.as_char() == '.' => {
                    rest = if let [TokenTree::Ident(_), after @ ..] = rest { after } else { rest };
                }
                TokenTree::Ident(first) => {
                    let mut names = vec![first.to_string()];
                    while let [TokenTree::Punct(a), TokenTree::Punct(b), TokenTree::Ident(name), after @ ..] = rest
                        && (a.as_char(), b.as_char()) == (':', ':')
                    {
                        names.push(name.to_string());
                        rest = after;
                    }
                    self.name(names, first, false);
                }
                _ => {}
            }
        }
    }
}

/// Reads these nodes unless they are built for tests only, which may look at anything, and keeps the names of items.
macro_rules! visit {
    ($($visit:ident: $node:ident $(named $($name:ident).+)?),* $(,)?) => {$(
        fn $visit(&mut self, node: &'ast syn::$node) {
            if !is_for_tests(&node.attrs) {
                $(self.module().items.extend([&node.$($name).+].map(Ident::to_string));)?
                visit::$visit(self, node);
            }
        }
    )*};
}

impl<'ast> Visit<'ast> for Reader<'_, '_> {
    visit! {
        visit_item_const: ItemConst named ident, visit_item_enum: ItemEnum named ident, visit_item_fn: ItemFn named sig.ident,
        visit_item_static: ItemStatic named ident, visit_item_struct: ItemStruct named ident,
        visit_item_trait: ItemTrait named ident, visit_item_type: ItemType named ident,
        visit_item_impl: ItemImpl, visit_impl_item_const: ImplItemConst, visit_impl_item_fn: ImplItemFn,
        visit_field: Field, visit_field_value: FieldValue, visit_variant: Variant, visit_arm: Arm,
        visit_local: Local, visit_expr_if: ExprIf, visit_expr_block: ExprBlock,
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        self.module().items.extend(item.ident.as_ref().map(Ident::to_string));
        visit::visit_item_macro(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        self.here.push(item.ident.to_string());
        match item.content {
            Some(_) => {
                self.module();
                visit::visit_item_mod(self, item);
            }
            None => self.declared.push(self.here.clone()),
        }
        self.here.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_ours = item.leading_colon.is_none() && !is_for_tests(&item.attrs);
        if is_ours {
            self.tree(&item.tree, Names::new(), !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let (None, Some(first)) = (path.leading_colon, path.segments.first()) {
            let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.name(names, &first.ident, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}

/// `#[cfg(test)]`, or with a further condition.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match attribute.meta.require_list() {
        Ok(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition.starts_with("all(test,")
        }
        _ => false,
    })
}
