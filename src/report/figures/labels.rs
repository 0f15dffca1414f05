//! Where labels stand so that none hides another: along an edge, or around points. In any unit of length.

/// A rectangle by its corners: left, top, right, bottom.
pub type Area = (f64, f64, f64, f64);

/// Positions nearest to `wanted`, in its order of values, at least `gap` apart and within `range` as far as it has room.
pub fn spread(wanted: &[f64], gap: f64, range: (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    // Less the gaps before them, positions need only ascend: neighbours that do not are pooled at their mean.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (rank, &label) in order.iter().enumerate() {
        let mut pool = (wanted[label] - rank as f64 * gap, 1);
        while let Some(last) = pools.pop_if(|last| last.0 >= pool.0) {
            pool = ((last.0 * last.1 as f64 + pool.0 * pool.1 as f64) / (last.1 + pool.1) as f64, last.1 + pool.1);
        }
        pools.push(pool);
    }
    let highest = (range.1 - wanted.len().saturating_sub(1) as f64 * gap).max(range.0);
    let reduced = pools.iter().flat_map(|&(at, count)| std::iter::repeat_n(at.clamp(range.0, highest), count));
    let mut placed = vec![0.0; wanted.len()];
    for (rank, (label, at)) in order.into_iter().zip(reduced).enumerate() {
        placed[label] = at + rank as f64 * gap;
    }
    placed
}

/// Centres for labels of `sizes` (width, height) around `points`, clear of `obstacles` and of each other as far as there
/// is room in `frame`. A label prefers to stand right of its point.
pub fn around(points: &[(f64, f64)], sizes: &[(f64, f64)], obstacles: &[Area], frame: Area, distance: f64) -> Vec<(f64, f64)> {
    let candidates: Vec<Vec<(f64, f64)>> = points.iter().zip(sizes).map(|(&point, &size)| stands(point, size, distance)).collect();
    let mut chosen = vec![0; points.len()];
    let area = |label: usize, stand: usize| centred(candidates[label][stand], sizes[label]);
    // Each label in turn takes its best place among the others' present ones; a few rounds settle.
    for _ in 0..4 {
        for label in 0..points.len() {
            let cost = |stand: usize| {
                let here = area(label, stand);
                let others = (0..points.len()).filter(|&other| other != label).map(|other| overlap(here, area(other, chosen[other])));
                let outside = size_of(here) - overlap(here, frame);
                let marks: f64 = obstacles.iter().map(|&o| overlap(here, o)).sum();
                4.0 * outside + 2.0 * others.sum::<f64>() + marks + 0.002 * stand as f64 * size_of(here)
            };
            chosen[label] = (0..candidates[label].len()).min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(0);
        }
    }
    (0..points.len()).map(|label| candidates[label][chosen[label]]).collect()
}

/// Around a point, most wanted first, then the same further away.
fn stands(point: (f64, f64), size: (f64, f64), distance: f64) -> Vec<(f64, f64)> {
    let (wide, high) = (size.0 / 2.0, size.1 / 2.0);
    let ring = move |far: f64| {
        let (x, y, slant) = (wide + far, high + far, 0.6 * far);
        [
            (x, 0.0),
            (-x, 0.0),
            (wide + slant, -high - slant),
            (wide + slant, high + slant),
            (0.0, -y),
            (0.0, y),
            (-wide - slant, -high - slant),
            (-wide - slant, high + slant),
        ]
        .map(|(dx, dy)| (point.0 + dx, point.1 + dy))
    };
    [1.0, 2.0, 3.5].into_iter().flat_map(|times| ring(times * distance)).collect()
}

fn centred(centre: (f64, f64), size: (f64, f64)) -> Area {
    (centre.0 - size.0 / 2.0, centre.1 - size.1 / 2.0, centre.0 + size.0 / 2.0, centre.1 + size.1 / 2.0)
}

fn size_of(a: Area) -> f64 {
    (a.2 - a.0) * (a.3 - a.1)
}

fn overlap(a: Area, b: Area) -> f64 {
    (a.2.min(b.2) - a.0.max(b.0)).max(0.0) * (a.3.min(b.3) - a.1.max(b.1)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowded_labels_part_evenly_about_where_they_belong() {
        assert_eq!(spread(&[50.0, 10.0, 50.0, 50.0], 10.0, (0.0, 100.0)), [40.0, 10.0, 50.0, 60.0]);
        assert_eq!(spread(&[98.0, 99.0, 2.0], 10.0, (0.0, 100.0)), [90.0, 100.0, 2.0]);
        assert_eq!(spread(&[100.0, 100.0], 10.0, (0.0, 100.0)), [90.0, 100.0]);
        assert!(spread(&[], 10.0, (0.0, 1.0)).is_empty());
    }

    #[test]
    fn labels_of_near_points_stand_clear_of_each_other_and_in_the_frame() {
        let points = [(95.0, 50.0), (94.0, 52.0), (50.0, 50.0), (52.0, 53.0), (50.0, 56.0)];
        let (sizes, frame) = ([(20.0, 4.0); 5], (0.0, 0.0, 100.0, 100.0));
        let marks = points.map(|p| centred(p, (2.0, 2.0)));
        let areas: Vec<Area> = around(&points, &sizes, &marks, frame, 2.0).into_iter().map(|c| centred(c, (20.0, 4.0))).collect();
        for (i, &area) in areas.iter().enumerate() {
            assert!((overlap(area, frame) - 80.0).abs() < 1e-9, "{area:?} leaves the frame");
            assert!(areas[..i].iter().chain(&marks).all(|&other| overlap(area, other) == 0.0), "{areas:?}");
        }
    }
}
