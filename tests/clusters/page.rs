//! Commands of a page of the documentation, to be run as they stand there.

/// What the mark `<!-- block: NAME -->` of `page` stands before, without its fence or indentation.
pub fn block(page: &str, name: &str) -> String {
    let mark = format!("<!-- block: {name} -->\n\n");
    let (_, rest) = page
        .split_once(&mark)
        .unwrap_or_else(|| panic!("the page has no block {name}"));
    if let Some(fenced) = rest.strip_prefix("```") {
        let (_, block) = fenced.split_once('\n').expect("a fence has a line");
        return block.split("```").next().unwrap_or_default().to_string();
    }
    let lines = rest.lines().map_while(|line| line.strip_prefix("    "));
    lines.map(|line| format!("{line}\n")).collect()
}
