//! A picture of two panels side by side over logarithmic x axes: title, legend, ticks, lines.

use plotters::coord::Shift;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Once;

pub const BLUE: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
pub const AMBER: RGBColor = RGBColor(0xf5, 0xa6, 0x3d);
pub const GREY: RGBColor = RGBColor(0xa0, 0xa6, 0xad);
const TEXT: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const FAINT: RGBColor = RGBColor(0x6a, 0x73, 0x7d);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);

const FONT: &str = "DejaVu Sans";

const LEFT: Pos = Pos {
    h_pos: HPos::Left,
    v_pos: VPos::Center,
};
const LEFT_TOP: Pos = Pos {
    h_pos: HPos::Left,
    v_pos: VPos::Top,
};
const MIDDLE_TOP: Pos = Pos {
    h_pos: HPos::Center,
    v_pos: VPos::Top,
};
const RIGHT: Pos = Pos {
    h_pos: HPos::Right,
    v_pos: VPos::Center,
};

// Half as large again as it is read, for screens that have the dots.
const SIZE: (u32, u32) = (1320, 590);
const MARGIN: i32 = 34;
const PANEL_WIDTH: i32 = 536;
const PANEL_TOP: i32 = 190;
const PANEL_BOTTOM: i32 = 496;

const LARGE: u32 = 20;
const SMALL: u32 = 18;

pub struct Canvas<'a> {
    area: DrawingArea<BitMapBackend<'a>, Shift>,
}

/// A line, and its name in the legend.
pub struct Series {
    name: &'static str,
    color: RGBColor,
    /// Of the line; one that lies under another is thicker, so that it can be seen.
    thickness: u32,
    points: Vec<(f64, f64)>,
}

pub struct Panel<'a> {
    title: &'a str,
    x_title: &'a str,
    left: i32,
    is_logarithmic: bool,
}

/// Where a value is on an axis: its ends, in the value or its logarithm, and in dots.
struct Axis {
    is_logarithmic: bool,
    ends: (f64, f64),
    dots: (i32, i32),
}

impl Series {
    pub fn new(name: &'static str, color: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self {
            name,
            color,
            thickness: 4,
            points,
        }
    }

    pub fn underneath(mut self) -> Self {
        self.thickness = 8;
        self
    }
}

impl<'a> Panel<'a> {
    pub fn left(title: &'a str, x_title: &'a str) -> Self {
        Self {
            title,
            x_title,
            left: MARGIN + 56,
            is_logarithmic: false,
        }
    }

    pub fn right(title: &'a str, x_title: &'a str) -> Self {
        let left = SIZE.0 as i32 - MARGIN - PANEL_WIDTH;
        Self {
            left,
            ..Self::left(title, x_title)
        }
    }

    /// In y; x always is.
    pub fn logarithmic(mut self) -> Self {
        self.is_logarithmic = true;
        self
    }
}

/// Writes what is drawn to a PNG.
pub fn picture(file: &Path, draw: impl FnOnce(&Canvas)) {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        let fonts = [
            (FontStyle::Normal, dejavu::sans::regular()),
            (FontStyle::Bold, dejavu::sans::bold()),
        ];
        for (style, bytes) in fonts {
            let registered = register_font(FONT, style, bytes);
            assert!(registered.is_ok(), "the font that is compiled in is one");
        }
    });
    let (width, height) = SIZE;
    let mut dots = vec![u8::MAX; (width * height * 3) as usize];
    let area = BitMapBackend::with_buffer(&mut dots, SIZE).into_drawing_area();
    let canvas = Canvas { area };
    draw(&canvas);
    canvas.area.present().expect("a picture can be drawn");
    drop(canvas);
    write_png(file, &dots).unwrap_or_else(|e| panic!("{} can't be written: {e}", file.display()));
    println!("bench: drawn: {}\n", file.display());
}

/// As small as it gets.
fn write_png(file: &Path, dots: &[u8]) -> Result<(), png::EncodingError> {
    let file = BufWriter::new(File::create(file)?);
    let mut encoder = png::Encoder::new(file, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.write_header()?.write_image_data(dots)
}

impl<'a> Canvas<'a> {
    pub fn title(&self, title: &str, subtitle: &str) {
        let bold = (FONT, 31, FontStyle::Bold).into_font().color(&TEXT);
        self.draw(&Text::new(title.to_string(), (MARGIN, 26), bold));
        self.text(subtitle, (MARGIN, 70), faint(LARGE).pos(LEFT_TOP));
    }

    /// One line under the title; what is drawn last comes first.
    pub fn legend(&self, all: &[Series]) {
        let (mut x, y) = (MARGIN, 124);
        for series in all.iter().rev() {
            self.line(series, &[(x, y), (x + 38, y)]);
            self.dot(series, (x + 19, y));
            let style = font(LARGE, &TEXT);
            let width = self.area.estimate_text_size(series.name, &style);
            self.text(series.name, (x + 50, y + 3), style.pos(LEFT));
            x += 50 + width.map_or(0, |(width, _)| width as i32) + 40;
        }
    }

    pub fn panel(&self, panel: Panel, all: &[Series]) {
        let points = || all.iter().flat_map(|series| &series.points);
        let across = (panel.left + 30, panel.left + PANEL_WIDTH - 30);
        let x = Axis::logarithmic(points().map(|(x, _)| *x), across);
        let ys = points().map(|(_, y)| *y);
        let upwards = (PANEL_BOTTOM, PANEL_TOP + 14);
        let y = if panel.is_logarithmic {
            Axis::logarithmic(ys, upwards)
        } else {
            Axis::from_zero(ys, upwards)
        };
        self.grid(&panel, &x, &y);
        for series in all {
            let points = series.points.iter();
            let places: Vec<_> = points.map(|(a, b)| (x.place(*a), y.place(*b))).collect();
            self.line(series, &places);
            places.iter().for_each(|place| self.dot(series, *place));
        }
    }

    fn grid(&self, panel: &Panel, x: &Axis, y: &Axis) {
        let (left, right) = (panel.left, panel.left + PANEL_WIDTH);
        let title = font(LARGE, &TEXT).pos(LEFT);
        self.text(panel.title, (left, PANEL_TOP - 20), title);
        for tick in y.ticks() {
            let at = y.place(tick);
            self.rule(&GRID, [(left, at), (right, at)]);
            self.text(&label(tick), (left - 12, at + 3), faint(SMALL).pos(RIGHT));
        }
        self.rule(&FAINT, [(left, PANEL_BOTTOM), (right, PANEL_BOTTOM)]);
        for tick in x.decades() {
            let at = x.place(tick);
            self.rule(&FAINT, [(at, PANEL_BOTTOM), (at, PANEL_BOTTOM + 8)]);
            let below = (at, PANEL_BOTTOM + 14);
            self.text(&label(tick), below, faint(SMALL).pos(MIDDLE_TOP));
        }
        let middle = (left + PANEL_WIDTH / 2, PANEL_BOTTOM + 48);
        self.text(panel.x_title, middle, font(LARGE, &TEXT).pos(MIDDLE_TOP));
    }

    fn rule(&self, color: &RGBColor, ends: [(i32, i32); 2]) {
        self.draw(&PathElement::new(ends, color.stroke_width(2)));
    }

    fn line(&self, series: &Series, places: &[(i32, i32)]) {
        let style = series.color.stroke_width(series.thickness);
        self.draw(&PathElement::new(places, style));
    }

    fn dot(&self, series: &Series, place: (i32, i32)) {
        let radius = series.thickness + 3;
        self.draw(&Circle::new(place, radius, series.color.filled()));
    }

    fn text(&self, text: &str, at: (i32, i32), style: TextStyle) {
        self.draw(&Text::new(text.to_string(), at, style));
    }

    fn draw<E>(&self, element: &E)
    where
        for<'b> &'b E: PointCollection<'b, (i32, i32)>,
        E: Drawable<BitMapBackend<'a>>,
    {
        self.area.draw(element).expect("a picture can be drawn");
    }
}

impl Axis {
    fn logarithmic(values: impl Iterator<Item = f64>, dots: (i32, i32)) -> Self {
        let (least, most) = range(values);
        let below = steps(least)
            .into_iter()
            .rfind(|step| *step <= least * 1.001);
        let above = steps(most).into_iter().find(|step| *step >= most * 0.999);
        let ends = (
            below.unwrap_or(least).log10(),
            above.unwrap_or(most).log10(),
        );
        Self {
            is_logarithmic: true,
            ends,
            dots,
        }
    }

    fn from_zero(values: impl Iterator<Item = f64>, dots: (i32, i32)) -> Self {
        let (_, most) = range(values);
        let step = nice_step(most);
        Self {
            is_logarithmic: false,
            ends: (0.0, (most / step).ceil() * step),
            dots,
        }
    }

    fn place(&self, value: f64) -> i32 {
        let at = if self.is_logarithmic {
            value.log10()
        } else {
            value
        };
        let share = (at - self.ends.0) / (self.ends.1 - self.ends.0);
        self.dots.0 + (share * f64::from(self.dots.1 - self.dots.0)).round() as i32
    }

    /// The powers of ten on a logarithmic axis.
    fn decades(&self) -> Vec<f64> {
        self.within(|decade| vec![decade])
    }

    fn within(&self, steps: impl Fn(f64) -> Vec<f64>) -> Vec<f64> {
        let (first, last) = (self.ends.0.floor() as i32, self.ends.1.ceil() as i32);
        let all = (first..=last).flat_map(|power| steps(10f64.powi(power)));
        let is_on = |step: &f64| {
            let at = step.log10();
            at > self.ends.0 - 0.001 && at < self.ends.1 + 0.001
        };
        all.filter(is_on).collect()
    }

    /// Powers of ten, or 1, 2, 5 and so on where these are few.
    fn ticks(&self) -> Vec<f64> {
        if !self.is_logarithmic {
            let step = nice_step(self.ends.1);
            let count = (self.ends.1 / step).round() as i32;
            return (0..=count).map(|nth| f64::from(nth) * step).collect();
        }
        if self.ends.1 - self.ends.0 > 2.0 {
            return self.decades();
        }
        self.within(|decade| [1.0, 2.0, 5.0].map(|times| times * decade).to_vec())
    }
}

/// 1, 2, 5, 10 in the decade of a value.
fn steps(value: f64) -> [f64; 4] {
    let decade = 10f64.powf((value * 1.001).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * decade)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| {
        (value.min(least), value.max(most))
    })
}

/// For about five ticks up to there.
fn nice_step(most: f64) -> f64 {
    let rough = most / 5.0;
    let fitting = steps(rough).into_iter().find(|step| *step >= rough * 0.999);
    fitting.unwrap_or(rough)
}

/// Short: `10 k` for 10,000.
fn label(tick: f64) -> String {
    let short = |number: f64| {
        let text = format!("{number:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    match tick {
        tick if tick >= 1e6 => format!("{} M", short(tick / 1e6)),
        tick if tick >= 1e3 => format!("{} k", short(tick / 1e3)),
        tick => short(tick),
    }
}

fn font(size: u32, color: &RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(color)
}

fn faint(size: u32) -> TextStyle<'static> {
    font(size, &FAINT)
}
