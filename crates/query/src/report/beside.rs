//! Sections about what a server knows beside the files: drills, retention, copies elsewhere, other databases.

use maud::{html, Markup};

use super::text::visible;

/// One section: facts, and a table. This crate knows no server: it only shows them.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// The anchor of its heading: letters.
    pub id: &'static str,
    pub title: &'static str,
    /// A name and a value each.
    pub facts: Vec<(String, String)>,
    pub columns: Vec<&'static str>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<String>>,
    /// A sentence below; empty if there is nothing to say.
    pub remark: String,
}

/// Every text in it is escaped.
pub fn section(section: &Section) -> Markup {
    html! {
        section.card id=(section.id) {
            h2 { (section.title) }
            @if !section.facts.is_empty() {
                dl {
                    @for (name, value) in &section.facts {
                        div { dt { (visible(name)) } dd { (visible(value)) } }
                    }
                }
            }
            @if !section.rows.is_empty() {
                div.scroll {
                    table {
                        thead { tr { @for column in &section.columns { th { (column) } } } }
                        tbody {
                            @for row in &section.rows {
                                tr { @for cell in row { td { (visible(cell)) } } }
                            }
                        }
                    }
                }
            }
            @if !section.remark.is_empty() { p.quiet { (visible(&section.remark)) } }
        }
    }
}
