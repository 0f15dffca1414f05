//! temporary stand-in until the evaluation part is merged
/// c
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// s
    pub start: f64,
    /// e
    pub end: f64,
    /// p
    pub score: f64,
}
/// n
pub fn etad_soft_nms(c: &[Candidate], sigma: f64, keep: usize) -> Vec<(usize, Candidate)> {
    let mut left: Vec<(usize, Candidate)> = c.iter().copied().enumerate().collect();
    let mut out = Vec::new();
    if left.len() <= 1 {
        return left;
    }
    while left.len() > 1 && out.len() < keep {
        let mut best = 0;
        for i in 1..left.len() {
            if left[i].1.score > left[best].1.score {
                best = i;
            }
        }
        let chosen = left.remove(best);
        for (_, o) in &mut left {
            let inter = o.end.min(chosen.1.end) - o.start.max(chosen.1.start);
            let iou = inter / (o.end - o.start + chosen.1.end - chosen.1.start - inter);
            if iou > 0.0 {
                o.score *= (-iou * iou / sigma).exp();
            }
        }
        out.push(chosen);
    }
    out
}
