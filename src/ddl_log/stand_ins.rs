//! A statement that makes what stays, with a part over this extension's own: a table with a default that
//! calls incr_flush(), a publication that lists ddl_history. Its text runs at restore, where those are
//! missing, with something of their look in their place, which is dropped right after it: exactly what needs
//! it goes along.

use pgrx::pg_sys::NodeTag::{self, *};

use super::history::Object;
use super::session::Session;
use super::statement_text::{StatementText, Token, TokenKind};
use crate::output_plugin::history::search_path_list;
use crate::pg::ddl_node::Sql;
use crate::pg::ddl_statement::Statement;
use crate::pg::ddl_subject::Target;
use crate::pg::ddl_touched::is_table;
use crate::pg::quote;
use crate::pg::stand_ins::{defaults_and_checks, missing, missing_checks, StandIn};

/// What stands before and behind the text of a statement.
#[derive(Clone)]
pub struct Around {
    before: Sql,
    after: Sql,
    /// What a publication loses.
    published: Vec<Object>,
}

/// For a statement whose text names what a restored database lacks; none for all others.
pub fn around(statement: &Statement, text: &StatementText, session: &Session) -> Option<Around> {
    let tag = statement.node_tag();
    let (functions, relations) = kinds(tag, text)?;
    let names = names(text, relations);
    if names.is_empty() {
        return None;
    }
    let is_not_null = |pair: &[Token]| pair[0].is_keyword("not") && pair[1].is_keyword("null");
    let with_value = text.tokens.windows(2).any(is_not_null);
    let mut found = missing(with_value, |name| names.iter().any(|other| other == name));
    found.retain(|one| {
        if one.is_relation {
            relations
        } else {
            functions
        }
    });
    (!found.is_empty()).then(|| written(tag, text, session, &found))
}

/// For a statement that names a check constraint which a restored table lacks: one that checks nothing is
/// there while it runs.
pub fn around_checks(
    statement: &Statement,
    text: &StatementText,
    targets: &[Target],
) -> Option<Around> {
    let tag = statement.node_tag();
    let is_one = matches!(tag, T_AlterTableStmt | T_RenameStmt | T_CommentStmt);
    let target = targets
        .first()
        .filter(|target| is_one && is_table(target.relation))?;
    let tokens = &text.tokens;
    if !tokens.iter().any(|token| token.is_keyword("constraint")) {
        return None;
    }
    let table = [b"ALTER TABLE ", &target.name.clone()?[..]].concat();
    let (mut before, mut after) = (Sql::new(), Sql::new());
    for name in missing_checks(target.relation) {
        let is_it = |place: &usize| name_at(text, *place).as_ref() == Some(&name);
        let places: Vec<usize> = (1..tokens.len()).filter(is_it).collect();
        // DROP CONSTRAINT name, DROP CONSTRAINT IF EXISTS name.
        let is_dropped = |place: &usize| {
            let back = if tokens[place - 1].is_keyword("exists") {
                4
            } else {
                2
            };
            place
                .checked_sub(back)
                .is_some_and(|at| tokens[at].is_keyword("drop"))
        };
        if places.is_empty() {
            continue;
        }
        let quoted = quote::identifier(&name);
        before.extend(
            [
                &table[..],
                b" ADD CONSTRAINT ",
                &quoted,
                b" CHECK (true) NOT VALID\n; ",
            ]
            .concat(),
        );
        if !places.iter().any(is_dropped) {
            let renamed = name_at(text, tokens.len() - 1).filter(|_| tag == T_RenameStmt);
            let left = renamed.map_or(quoted, |name| quote::identifier(&name));
            after.extend([b"\n; ", &table[..], b" DROP CONSTRAINT ", &left].concat());
        }
    }
    (!before.is_empty()).then_some(Around {
        before,
        after,
        published: Vec::new(),
    })
}

/// True where [`around`] or [`around_checks`] has something to look for.
pub fn may_be_over_ours(statement: &Statement, text: &StatementText) -> bool {
    let tag = statement.node_tag();
    let names_check = matches!(tag, T_AlterTableStmt | T_RenameStmt | T_CommentStmt)
        && text.tokens.iter().any(|t| t.is_keyword("constraint"));
    names_check || kinds(tag, text).is_some()
}

/// Whether functions and relations in such a text matter; none where nothing does.
fn kinds(tag: NodeTag, text: &StatementText) -> Option<(bool, bool)> {
    let has = |words: &[&str]| {
        text.tokens
            .iter()
            .any(|t| words.iter().any(|w| t.is_keyword(w)))
    };
    match tag {
        T_CreateStmt
        | T_CreateForeignTableStmt
        | T_AlterTableStmt
        | T_CreateDomainStmt
        | T_AlterDomainStmt => has(&["default", "check"]).then_some((true, false)),
        T_CreateSchemaStmt => has(&["view", "table"]).then_some((true, true)),
        T_CreatePublicationStmt | T_AlterPublicationStmt => {
            has(&["table"]).then_some((false, true))
        }
        _ => None,
    }
}

/// The names in the text; of functions alone those that have an argument list.
fn names(text: &StatementText, of_relations: bool) -> Vec<Sql> {
    let is_name = |place: &usize| {
        matches!(
            text.tokens[*place].kind,
            TokenKind::Other | TokenKind::Keyword(_)
        ) && (of_relations
            || text
                .tokens
                .get(place + 1)
                .is_some_and(|next| next.is_char(b'(')))
    };
    let places = (0..text.tokens.len()).filter(is_name);
    places.filter_map(|place| name_at(text, place)).collect()
}

/// What the token at this place is as a name.
fn name_at(text: &StatementText, place: usize) -> Option<Sql> {
    let token = &text.tokens[place];
    if !matches!(token.kind, TokenKind::Other | TokenKind::Keyword(_)) {
        return None;
    }
    let name = &text.text[token.offset..token.end];
    let quoted = name
        .strip_prefix(b"\"")
        .and_then(|name| name.strip_suffix(b"\""));
    // What is not ASCII is quoted in the canonical text.
    Some(quoted.map_or_else(|| name.to_ascii_lowercase(), unquoted))
}

fn unquoted(name: &[u8]) -> Sql {
    let mut bytes = name.iter().copied().peekable();
    let mut plain = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        if byte == b'"' {
            bytes.next_if_eq(&b'"');
        }
        plain.push(byte);
    }
    plain
}

fn written(tag: NodeTag, text: &StatementText, session: &Session, found: &[StandIn]) -> Around {
    let role = quote::identifier(&session.role);
    let is_publication = matches!(tag, T_CreatePublicationStmt | T_AlterPublicationStmt);
    let mut makes = vec![
        b"SET LOCAL ROLE NONE".to_vec(),
        b"SET LOCAL search_path = ''".to_vec(),
    ];
    let mut drops = makes.clone();
    for one in found {
        makes.push(one.make.clone());
        makes.push(one.grant.clone());
        if is_publication {
            // Who publishes a table owns it.
            makes.push([b"ALTER TABLE ", &one.identity[..], b" OWNER TO ", &role].concat());
        }
        drops.push(one.drop.clone());
    }
    let path = search_path_list(&session.search_path);
    let back = [
        [b"SET LOCAL search_path = ", &path[..]].concat(),
        [b"SET LOCAL ROLE ", &role[..]].concat(),
    ];
    makes.extend(back.clone());
    drops.extend(back);
    // ALTER PUBLICATION name DROP TABLE: what leaves it has to be in it.
    let leaves = is_publication && text.tokens.get(3).is_some_and(|t| t.is_keyword("drop"));
    if let (true, Some(name)) = (leaves, text.tokens.get(2)) {
        let publication = &text.text[name.offset..name.end];
        for one in found {
            let add = [
                b"ALTER PUBLICATION ",
                publication,
                b" ADD TABLE ",
                &one.identity,
            ];
            makes.push(add.concat());
        }
    }
    let published = found.iter().filter(|_| is_publication && !leaves);
    Around {
        before: [&makes.join(b"\n; ".as_slice())[..], b"\n; "].concat(),
        after: [b"\n; ", &drops.join(b"\n; ".as_slice())[..]].concat(),
        published: published.map(|one| in_publication(one, text)).collect(),
    }
}

fn in_publication(one: &StandIn, text: &StatementText) -> Object {
    let name = text
        .tokens
        .get(2)
        .map_or(0..0, |name| name.offset..name.end);
    Object {
        object_type: b"publication relation".to_vec(),
        identity: [&one.identity[..], b" in publication ", &text.text[name]].concat(),
    }
}

impl Around {
    /// With `inner` nearer to the text.
    pub fn with(self, inner: Option<Around>) -> Around {
        let Some(inner) = inner else {
            return self;
        };
        Around {
            before: [self.before, inner.before].concat(),
            after: [inner.after, self.after].concat(),
            published: self.published,
        }
    }

    pub fn of(&self, text: &[u8]) -> Sql {
        [&self.before[..], text, &self.after].concat()
    }

    /// The text as it has to be, and what it leaves out, now that the tables and domains are there.
    pub fn seen(
        &self,
        replay: &[u8],
        tables: &[pgrx::pg_sys::Oid],
        domains: &[pgrx::pg_sys::Oid],
    ) -> (Option<Sql>, Vec<Object>) {
        let found = defaults_and_checks(tables, domains);
        let mut kept = Vec::new();
        for one in found.iter().filter(|one| one.is_of_domain) {
            kept.extend([b"\n; ALTER DOMAIN ", &one.identity[..], b" DROP DEFAULT"].concat());
        }
        let end = replay.len().checked_sub(self.after.len());
        let end = end.filter(|end| !kept.is_empty() && replay[*end..] == self.after);
        let replay = end.map(|end| [&replay[..end], &kept, &self.after].concat());
        let named = found.into_iter().map(|one| Object {
            object_type: match one.is_of_domain {
                true => b"default of domain".to_vec(),
                false => one.object_type,
            },
            identity: one.identity,
        });
        (replay, named.chain(self.published.clone()).collect())
    }
}
