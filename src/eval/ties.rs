//! The order in which the published evaluators rank equal values.
//!
//! Both call NumPy's `argsort` (not stable) and reverse it. Detection files often carry scores rounded to four digits, so
//! that thousands of detections tie and their order moves mAP by up to 0.003. [`descending`] reproduces NumPy's portable
//! introsort: median-of-three quicksort, insertion sort for at most 16 elements, heap sort beyond a depth of 2 log2(n).
//! NumPy builds that sort with AVX2 or AVX-512 order ties differently; the recorded reference figures are the portable ones.

/// Up to this length a list is finished by insertion sort, which is stable.
pub(super) const SMALL: usize = 16;

/// Positions of `keys` from the largest to the smallest, ties as in a reversed NumPy `argsort`. No key is NaN.
pub(super) fn descending(keys: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    introsort(keys, &mut order);
    order.reverse();
    order
}

/// Sorts positions by ascending key.
fn introsort(keys: &[f64], order: &mut [usize]) {
    let depth = 2 * order.len().checked_ilog2().unwrap_or(0) as i32;
    let mut pending = vec![(0, order.len(), depth)];
    while let Some((mut low, mut high, mut depth)) = pending.pop() {
        // Looked at when a part is taken up, not while it is being cut: this decides which sort orders its ties.
        if depth < 0 {
            heap_sort(keys, &mut order[low..high]);
            continue;
        }
        while high - low > SMALL {
            let pivot = low + partition(keys, &mut order[low..high]);
            depth -= 1;
            // The larger part waits, so the stack stays logarithmic.
            if pivot - low < high - 1 - pivot {
                pending.push((pivot + 1, high, depth));
                high = pivot;
            } else {
                pending.push((low, pivot, depth));
                low = pivot + 1;
            }
        }
        insertion_sort(keys, &mut order[low..high]);
    }
}

/// Splits around the median of the first, middle and last element; returns where that pivot ends up.
fn partition(keys: &[f64], order: &mut [usize]) -> usize {
    let (last, middle) = (order.len() - 1, (order.len() - 1) / 2);
    for (a, b) in [(0, middle), (middle, last), (0, middle)] {
        if keys[order[b]] < keys[order[a]] {
            order.swap(a, b);
        }
    }
    let pivot = keys[order[middle]];
    order.swap(middle, last - 1);
    let (mut i, mut j) = (0, last - 1);
    // Both scans stop at equal keys, and the outer elements bound them.
    loop {
        i += 1;
        while keys[order[i]] < pivot {
            i += 1;
        }
        j -= 1;
        while pivot < keys[order[j]] {
            j -= 1;
        }
        if i >= j {
            break;
        }
        order.swap(i, j);
    }
    order.swap(i, last - 1);
    i
}

fn insertion_sort(keys: &[f64], order: &mut [usize]) {
    for i in 1..order.len() {
        let moved = order[i];
        let mut j = i;
        while j > 0 && keys[moved] < keys[order[j - 1]] {
            order[j] = order[j - 1];
            j -= 1;
        }
        order[j] = moved;
    }
}

fn heap_sort(keys: &[f64], order: &mut [usize]) {
    for root in (0..order.len() / 2).rev() {
        let moved = order[root];
        sift_down(keys, order, root, moved);
    }
    for end in (1..order.len()).rev() {
        let moved = order[end];
        order[end] = order[0];
        sift_down(keys, &mut order[..end], 0, moved);
    }
}

/// Places `moved` at `hole` or below, so that the subtree is a max-heap again.
fn sift_down(keys: &[f64], heap: &mut [usize], mut hole: usize, moved: usize) {
    loop {
        let mut child = 2 * hole + 1;
        if child >= heap.len() {
            break;
        }
        if child + 1 < heap.len() && keys[heap[child]] < keys[heap[child + 1]] {
            child += 1;
        }
        if keys[moved] >= keys[heap[child]] {
            break;
        }
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = moved;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(n: u64, distinct: u64) -> Vec<f64> {
        (0..n).map(|i| ((i * i * 7919 + 13 * i) % distinct) as f64).collect()
    }

    fn fold(order: &[usize]) -> u64 {
        order.iter().fold(0, |sum, &at| sum.wrapping_mul(31).wrapping_add(at as u64))
    }

    /// Recorded with NumPy 2.4.6, its AVX sorts switched off: `keys.argsort()[::-1]`.
    #[test]
    fn ties_fall_as_in_numpy() {
        let expected = [11, 7, 21, 1, 2, 17, 16, 12, 22, 6, 19, 14, 4, 9, 3, 5, 23, 8, 10, 13, 15, 18, 20, 0];
        assert_eq!(descending(&keys(24, 5)), expected);
        let recorded = [
            (17, 3, 1_908_837_685_322_973_016),
            (18, 3, 14_591_396_843_130_625_955),
            (40, 7, 4_282_035_552_064_541_090),
            (1000, 1, 6_761_380_407_869_647_768),
            (1000, 23, 9_668_369_918_656_682_616),
            (5000, 400, 14_747_118_031_488_784_912),
            (5000, 100_003, 17_248_949_932_969_661_436),
        ];
        for (n, distinct, order) in recorded {
            assert_eq!(fold(&descending(&keys(n, distinct))), order, "{n} keys of {distinct} values");
        }
    }

    /// Rising then falling keys defeat the median of three, so that parts are left to heap sort.
    #[test]
    fn ties_fall_as_in_numpy_where_quicksort_gives_up() {
        let organ: Vec<f64> = (0..3000).map(|i| f64::from(i.min(3000 - i))).collect();
        assert_eq!(fold(&descending(&organ)), 8_511_712_509_980_648_372);
    }

    #[test]
    fn nothing_sorts_to_nothing() {
        assert!(descending(&[]).is_empty());
        assert_eq!(descending(&[0.5]), [0]);
    }
}
