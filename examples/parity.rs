//! scratch
fn main() {
    etalon::nn::runtime::prepare(std::env::args().nth(2).map_or(2, |s| s.parse().unwrap()));
    let p = etalon::nn::parity::run(std::path::Path::new(&std::env::args().nth(1).unwrap())).unwrap();
    for c in &p.checks {
        if !c.passed { println!("{c:?}"); }
    }
    let mut w: std::collections::BTreeMap<String, (f64,f64)> = Default::default();
    for c in &p.checks { let k = c.name.split('.').next().unwrap().to_string(); let e = w.entry(k).or_default(); if c.deviation > e.0 { *e = (c.deviation, c.tolerance) } }
    println!("{w:#?} {} checks, passed {} not covered {:?}", p.checks.len(), p.passed, p.not_covered);
}
