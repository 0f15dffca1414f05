//! The order in which the published evaluators rank equal values.
//!
//! Both call NumPy's `argsort` (not stable) and reverse it. Detection files often carry scores rounded to four digits, so
//! that thousands of detections tie and their order moves mAP by up to 0.003. [`descending`] reproduces NumPy's portable
//! introsort: median-of-three quicksort, insertion sort for at most 17 elements, heap sort beyond a depth of 2 log2(n).
//! NumPy builds that sort with AVX2 or AVX-512 order ties differently; the recorded reference figures are the portable ones.

/// Up to this length a list is finished by insertion sort, which is stable.
pub(super) const SMALL: usize = 17;

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
