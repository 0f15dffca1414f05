//! The report as Markdown, with its figures in files beside it.

use super::{Artifact, Renderer};
use crate::report::document::{Block, Table};
use crate::report::figures::svg;
use crate::report::{Error, Page};

/// `report.md` and `figures/*.svg`.
pub struct Markdown;

impl Renderer for Markdown {
    fn render(&self, page: &Page) -> Result<Vec<Artifact>, Error> {
        let document = &page.document;
        let mut text = format!("# {}\n\n", plain(&page.title));
        for sentence in &page.lead {
            text += &format!("{}\n\n", plain(sentence));
        }
        for section in &document.sections {
            text += &format!("## {}\n\n", section.title);
            for block in &section.blocks {
                match block {
                    Block::Text { text: paragraph } => text += &format!("{}\n\n", plain(paragraph)),
                    Block::Figure { chart } => {
                        let chart = &document.charts[*chart];
                        text += &format!("![{}](figures/{}.svg)\n\n", plain(&chart.title), chart.id);
                    }
                    Block::Table(table) => text += &markdown_table(table),
                    Block::List { items } => {
                        items.iter().for_each(|item| text += &format!("- {}\n", plain(item)));
                        text.push('\n');
                    }
                    Block::Code { language, text: code, summary } => {
                        let fenced = format!("```{language}\n{code}\n```\n\n");
                        match summary {
                            Some(summary) => text += &format!("<details><summary>{}</summary>\n\n{fenced}</details>\n\n", plain(summary)),
                            None => text += &fenced,
                        }
                    }
                }
            }
        }
        let mut artifacts = vec![Artifact::new("report.md", text)];
        for chart in &document.charts {
            artifacts.push(Artifact::new(format!("figures/{}.svg", chart.id), svg::draw(chart)?));
        }
        Ok(artifacts)
    }
}

fn markdown_table(table: &Table) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.iter().map(|c| plain(c)).collect::<Vec<_>>().join(" | "));
    let rule = |i: usize| if table.text_columns.contains(&i) { "---" } else { "---:" };
    let rules: Vec<&str> = (0..table.header.len()).map(rule).collect();
    let body: String = table.rows.iter().map(|cells| row(cells)).collect();
    let text = format!("{}|{}|\n{body}\n", row(&table.header), rules.join("|"));
    match table.folded {
        true => format!("<details><summary>{}</summary>\n\n{text}</details>\n\n", plain(&table.caption)),
        false => format!("**{}**\n\n{text}", plain(&table.caption)),
    }
}

/// Names come from the user's files: nothing in them may act as markup.
fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' => escaped.extend(['\\', c]),
            '<' => escaped += "&lt;",
            '\n' => escaped.push(' '),
            _ => escaped.push(c),
        }
    }
    escaped
}
