//! A page about stored profiles: one in depth, or several beside each other.

use super::Error;
use super::document::{Block, Document, Section, hardware, profiles as sections};
use super::figures::usage;
use super::hardware::run;
use super::model::{Absence, Run};
use super::page::Page;
use crate::profile::{Profile, Trace};

/// A profile, by the name of its file, with its trace where that is there.
pub struct Profiled {
    /// Name on the page.
    pub name: String,
    /// The document.
    pub profile: Profile,
    /// Every reading.
    pub trace: Option<Trace>,
}

/// Builds the page.
///
/// # Errors
/// The values cannot be written as JSON.
pub fn page(profiled: &[Profiled]) -> Result<Page, Error> {
    let runs: Vec<Run> = profiled.iter().filter_map(|p| Some(run(&p.name, &p.profile.ended, p.trace.as_ref()?))).collect();
    let place = |name: &str| profiled.iter().position(|p| p.name == name).unwrap_or(0);
    let mut charts = usage::over_time("usage", &runs, place);
    let rooflines: Vec<_> = profiled.iter().filter_map(|p| Some((p.name.clone(), p.profile.roofline.as_ref()?))).collect();
    charts.extend(usage::roofline(&rooflines));
    let mut list: Vec<Section> = vec![sections::overview(profiled, &charts), sections::roofline(&charts)];
    let mut compute = Vec::new();
    for p in profiled {
        compute.extend(hardware::compute(&p.name, &p.profile.compute));
    }
    list.push(Section { id: "compute", title: "Theoretical compute", blocks: compute });
    let absent = |p: &Profiled| p.profile.usage.absences().into_iter().map(|(reason, channels)| Absence { channels, reason });
    let mut gaps: Vec<Absence> = profiled.iter().flat_map(absent).collect();
    gaps.dedup();
    list.push(Section { id: "gaps", title: "Not measured", blocks: hardware::unmeasured(&gaps).into_iter().collect::<Vec<Block>>() });
    list.push(sections::manifest(profiled));
    let title = match profiled {
        [only] => only.profile.subject.to_string(),
        several => format!("{} profiles", several.len()),
    };
    let lead = profiled.iter().map(|p| {
        let name = if profiled.len() > 1 { format!("{}: ", p.name) } else { String::new() };
        format!("{name}{}, {}.", p.profile.ended, p.profile.verdict.sentence())
    });
    let values: Vec<&Profile> = profiled.iter().map(|p| &p.profile).collect();
    let kicker = format!("hardware profile · {}", profiled.first().map_or("", |p| p.profile.started.as_str()));
    let document = Document { charts, sections: list.into_iter().filter(|s| !s.blocks.is_empty()).collect() };
    Ok(Page { kicker, title, lead: lead.collect(), document, json: serde_json::to_string_pretty(&values)?, files: Vec::new() })
}
