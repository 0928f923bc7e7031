//! A picture of two panels side by side over logarithmic x axes: title, legend, ticks, lines.

use plotters::coord::Shift;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;
use std::sync::Once;

pub const BLUE: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
pub const ORANGE: RGBColor = RGBColor(0xe0, 0x6c, 0x00);
pub const GREY: RGBColor = RGBColor(0xa0, 0xa6, 0xad);
const TEXT: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const FAINT_TEXT: RGBColor = RGBColor(0x6a, 0x73, 0x7d);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);

const FONT: &str = "DejaVu Sans";

// Half as large again as it is read, for screens that have the dots.
const SIZE: (u32, u32) = (1320, 590);
const MARGIN: i32 = 34;
const PANEL_WIDTH: i32 = 536;
const PANEL_TOP: i32 = 190;
const PANEL_BOTTOM: i32 = 496;

// Of letters and dots.
const LARGE: u32 = 20;
const SMALL: u32 = 18;
const DOT: u32 = 7;

pub struct Canvas<'a> {
    area: DrawingArea<BitMapBackend<'a>, Shift>,
    file: &'a Path,
}

/// A line, and its name in the legend.
pub struct Series {
    name: &'static str,
    color: RGBColor,
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
            points,
        }
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

impl<'a> Canvas<'a> {
    pub fn new(file: &'a Path) -> Self {
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
        let area = BitMapBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE).expect("a picture can be drawn");
        Self { area, file }
    }

    pub fn title(&self, title: &str, subtitle: &str) {
        let bold = (FONT, 31, FontStyle::Bold).into_font().color(&TEXT);
        self.draw(&Text::new(title.to_string(), (MARGIN, 26), bold));
        self.text(
            subtitle,
            (MARGIN, 70),
            LARGE,
            FAINT_TEXT,
            HPos::Left,
            VPos::Top,
        );
    }

    /// One line under the title.
    pub fn legend(&self, all: &[Series]) {
        let (mut x, y) = (MARGIN, 124);
        for series in all.iter().rev() {
            self.draw(&PathElement::new(
                [(x, y), (x + 38, y)],
                series.color.stroke_width(4),
            ));
            self.draw(&Circle::new((x + 19, y), DOT, series.color.filled()));
            self.text(
                series.name,
                (x + 50, y - 3),
                LARGE,
                TEXT,
                HPos::Left,
                VPos::Center,
            );
            let width = self
                .area
                .estimate_text_size(series.name, &font(LARGE, TEXT));
            x += 50 + width.map_or(0, |(width, _)| width as i32) + 40;
        }
    }

    pub fn panel(&self, panel: Panel, all: &[Series]) {
        let points = || all.iter().flat_map(|series| &series.points);
        let x = Axis::logarithmic(
            points().map(|(x, _)| *x),
            (panel.left + 30, panel.left + PANEL_WIDTH - 30),
        );
        let ys = points().map(|(_, y)| *y);
        let dots = (PANEL_BOTTOM, PANEL_TOP + 14);
        let y = match panel.is_logarithmic {
            true => Axis::logarithmic(ys, dots),
            false => Axis::from_zero(ys, dots),
        };
        let right = panel.left + PANEL_WIDTH;
        self.text(
            panel.title,
            (panel.left, PANEL_TOP - 20),
            LARGE,
            TEXT,
            HPos::Left,
            VPos::Center,
        );
        for tick in y.ticks() {
            let at = y.place(tick);
            self.draw(&PathElement::new(
                [(panel.left, at), (right, at)],
                GRID.stroke_width(2),
            ));
            self.text(
                &label(tick),
                (panel.left - 12, at),
                SMALL,
                FAINT_TEXT,
                HPos::Right,
                VPos::Center,
            );
        }
        for tick in x.decades() {
            let at = x.place(tick);
            self.draw(&PathElement::new(
                [(at, PANEL_BOTTOM), (at, PANEL_BOTTOM + 8)],
                FAINT_TEXT.stroke_width(2),
            ));
            self.text(
                &label(tick),
                (at, PANEL_BOTTOM + 14),
                SMALL,
                FAINT_TEXT,
                HPos::Center,
                VPos::Top,
            );
        }
        let ground = [(panel.left, PANEL_BOTTOM), (right, PANEL_BOTTOM)];
        self.draw(&PathElement::new(ground, FAINT_TEXT.stroke_width(2)));
        let middle = panel.left + PANEL_WIDTH / 2;
        self.text(
            panel.x_title,
            (middle, PANEL_BOTTOM + 48),
            LARGE,
            TEXT,
            HPos::Center,
            VPos::Top,
        );
        for series in all {
            let places: Vec<(i32, i32)> = series
                .points
                .iter()
                .map(|(a, b)| (x.place(*a), y.place(*b)))
                .collect();
            self.draw(&PathElement::new(
                places.clone(),
                series.color.stroke_width(4),
            ));
            for place in places {
                self.draw(&Circle::new(place, DOT, series.color.filled()));
            }
        }
    }

    pub fn save(self) {
        let saved = self.area.present();
        saved.unwrap_or_else(|e| panic!("{} can't be written: {e}", self.file.display()));
        println!("bench: drawn: {}\n", self.file.display());
    }

    fn text(&self, text: &str, at: (i32, i32), size: u32, color: RGBColor, h: HPos, v: VPos) {
        let style = font(size, color).pos(Pos::new(h, v));
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
    /// In whole decades, or in 1, 2, 5 where these are few.
    fn logarithmic(values: impl Iterator<Item = f64>, dots: (i32, i32)) -> Self {
        let (least, most) = range(values);
        let ends = (least.log10().floor(), most.log10().ceil());
        Self {
            is_logarithmic: true,
            ends: (ends.0, ends.1.max(ends.0 + 1.0)),
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

    fn decades(&self) -> Vec<f64> {
        let (first, last) = (self.ends.0 as i32, self.ends.1 as i32);
        (first..=last).map(|power| 10f64.powi(power)).collect()
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.is_logarithmic {
            let step = nice_step(self.ends.1);
            let count = (self.ends.1 / step).round() as i32;
            return (0..=count).map(|nth| f64::from(nth) * step).collect();
        }
        let decades = self.decades();
        if decades.len() > 3 {
            return decades;
        }
        let within = |decade: &f64| [1.0, 2.0, 5.0].map(|times| times * decade);
        let all = decades.iter().flat_map(within);
        let last = 10f64.powf(self.ends.1) * 1.001;
        all.filter(|tick| *tick <= last).collect()
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| {
        (value.min(least), value.max(most))
    })
}

/// For about five ticks up to there.
fn nice_step(most: f64) -> f64 {
    let rough = most / 5.0;
    let decade = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * decade);
    let fitting = steps.into_iter().find(|step| *step >= rough);
    fitting.unwrap_or(decade * 10.0)
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

fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&color)
}
