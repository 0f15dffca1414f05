//! Cholesky factors of the small symmetric matrices a curve needs (as many rows as sizes or parameters).

/// Lower factor L of a positive definite matrix A = L Lᵀ, row by row.
#[derive(Clone, Debug)]
pub struct Cholesky(Vec<Vec<f64>>);

impl Cholesky {
    /// `None` when the matrix is not positive definite (or not finite).
    pub fn new(matrix: &[Vec<f64>]) -> Option<Self> {
        let size = matrix.len();
        let mut lower = vec![vec![0.0; size]; size];
        for i in 0..size {
            for j in 0..=i {
                let dot: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
                let rest = matrix[i][j] - dot;
                if i == j {
                    if !(rest > 0.0 && rest.is_finite()) {
                        return None;
                    }
                    lower[i][i] = rest.sqrt();
                } else {
                    lower[i][j] = rest / lower[j][j];
                }
            }
        }
        Some(Self(lower))
    }

    /// L⁻¹ b, in place: turns correlated residuals into independent ones of variance 1.
    pub fn whiten(&self, b: &mut [f64]) {
        for i in 0..b.len() {
            let dot: f64 = (0..i).map(|k| self.0[i][k] * b[k]).sum();
            b[i] = (b[i] - dot) / self.0[i][i];
        }
    }

    /// L⁻ᵀ b, in place: of independent normals with A as the precision, makes correlated ones.
    pub fn whiten_transposed(&self, b: &mut [f64]) {
        for i in (0..b.len()).rev() {
            let dot: f64 = (i + 1..b.len()).map(|k| self.0[k][i] * b[k]).sum();
            b[i] = (b[i] - dot) / self.0[i][i];
        }
    }

    /// A⁻¹ b, in place.
    pub fn solve(&self, b: &mut [f64]) {
        self.whiten(b);
        self.whiten_transposed(b);
    }

    /// ½ ln det A.
    pub fn half_log_determinant(&self) -> f64 {
        self.0.iter().enumerate().map(|(i, row)| row[i].ln()).sum()
    }

    /// Diagonal of A⁻¹.
    pub fn inverse_diagonal(&self) -> Vec<f64> {
        let size = self.0.len();
        (0..size)
            .map(|i| {
                let mut unit = vec![0.0; size];
                unit[i] = 1.0;
                self.whiten(&mut unit);
                unit.iter().map(|x| x * x).sum()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solving_undoes_multiplying() {
        let a = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, 0.2], vec![0.5, 0.2, 2.0]];
        let factor = Cholesky::new(&a).unwrap();
        let x = [1.0, -2.0, 3.0];
        let mut b: Vec<f64> = a.iter().map(|row| row.iter().zip(x).map(|(m, v)| m * v).sum()).collect();
        factor.solve(&mut b);
        assert!(b.iter().zip(x).all(|(got, want)| (got - want).abs() < 1e-12));
        let mut e = [0.0, 1.0, 0.0];
        factor.solve(&mut e);
        assert!((factor.inverse_diagonal()[1] - e[1]).abs() < 1e-12);
    }

    #[test]
    fn an_indefinite_matrix_has_no_factor() {
        assert!(Cholesky::new(&[vec![1.0, 2.0], vec![2.0, 1.0]]).is_none());
        assert!(Cholesky::new(&[vec![f64::NAN]]).is_none());
    }
}
