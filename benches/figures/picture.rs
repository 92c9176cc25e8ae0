//! The picture: for each figure beside a peer, how many times as good vigie is, on a scale of powers
//! of ten. Readable on light and on dark ground.

use super::report::Figure;

const ROW: usize = 22;
const TOP: usize = 64;
const WIDTH: usize = 1_100;
/// Where bars may be, between the words and the numbers.
const LEFT: f64 = 640.0;
const RIGHT: f64 = 1_040.0;
/// Most letters of one line of words.
const LETTERS_MAX: usize = 100;
/// The scale reaches from a hundredth …
const LEAST: f64 = 0.01;
/// … to ten thousand times.
const GREATEST: f64 = 10_000.0;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.quiet { fill: #59636e; }
.line { stroke: #d1d9e0; stroke-width: 1; }
.equal { stroke: #1f2328; stroke-width: 1; }
.better { fill: #1a7f37; }
.worse { fill: #cf222e; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.quiet { fill: #9198a1; }
.line { stroke: #3d444d; }
.equal { stroke: #f0f6fc; }
.better { fill: #3fb950; }
.worse { fill: #f85149; }
}
";

/// The whole picture as SVG.
pub(crate) fn draw(figures: &[Figure]) -> String {
    let bars: Vec<(&Figure, f64)> = figures
        .iter()
        .filter_map(|figure| Some((figure, figure.factor?)))
        .filter(|(_, factor)| factor.is_finite() && *factor > 0.0)
        .collect();
    let height = TOP + ROW * bars.len() + 16;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>vigie beside its peers</title>\n<style>\n{STYLE}</style>\n\
         <text class=\"title\" x=\"8\" y=\"24\">vigie beside its peers: how many times as good, in one run</text>\n"
    );
    scale(&mut svg, height);
    for (index, bar) in bars.iter().enumerate() {
        row(&mut svg, TOP + ROW * index, *bar);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where a factor lies.
fn place(factor: f64) -> f64 {
    let whole = (GREATEST / LEAST).log10();
    let part = (factor.clamp(LEAST, GREATEST) / LEAST).log10() / whole;
    LEFT + (RIGHT - LEFT) * part
}

fn scale(svg: &mut String, height: usize) {
    let mut factor = LEAST;
    while factor <= GREATEST * 1.001 {
        let x = place(factor);
        let is_equal = (factor - 1.0).abs() < 1e-6;
        let class = if is_equal { "equal" } else { "line" };
        let bottom = height - 12;
        svg.push_str(&format!(
            "<text class=\"quiet\" x=\"{x:.1}\" y=\"48\" text-anchor=\"middle\">{}×</text>\n\
             <line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"54\" y2=\"{bottom}\"/>\n",
            number(factor)
        ));
        factor *= 10.0;
    }
}

fn row(svg: &mut String, top: usize, (figure, factor): (&Figure, f64)) {
    let peer = figure.peer.split(": ").next().unwrap_or("");
    let words = shorten(&format!("{} — {peer}", figure.what));
    let (one, end) = (place(1.0), place(factor));
    let class = if factor >= 1.0 { "better" } else { "worse" };
    let (from, width) = (one.min(end), (one - end).abs().max(1.0));
    let (base, bar) = (top + 15, top + 5);
    svg.push_str(&format!(
        "<text x=\"8\" y=\"{base}\">{}</text>\n\
         <rect class=\"{class}\" x=\"{from:.1}\" y=\"{bar}\" width=\"{width:.1}\" height=\"12\"/>\n\
         <text x=\"{WIDTH}\" dx=\"-8\" y=\"{base}\" text-anchor=\"end\">{}×</text>\n",
        escape(&words),
        number(factor)
    ));
}

/// Few digits that tell enough.
fn number(factor: f64) -> String {
    match factor {
        0.0..0.0095 => format!("{factor:.3}"),
        0.0..0.095 => format!("{factor:.2}"),
        0.0..9.95 => format!("{:.1}", factor).trim_end_matches(".0").to_owned(),
        _ => format!("{factor:.0}"),
    }
}

fn shorten(words: &str) -> String {
    if words.chars().count() <= LETTERS_MAX {
        return words.to_owned();
    }
    let kept: String = words.chars().take(LETTERS_MAX - 1).collect();
    format!("{kept}…")
}

fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('`', "")
}
