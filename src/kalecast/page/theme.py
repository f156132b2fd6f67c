"""The theme: system fonts, one accent, slate around it; nothing fetched from elsewhere."""

from html import escape
from pathlib import Path

import gradio as gr

from kalecast.page.gradio_internals import replace_head_tags
from kalecast.page.markup import TAGLINE

HERE = Path(__file__).resolve().parent
CSS = HERE / "page.css"
ICON = HERE / "favicon.png"

# The gateway knows it by its hash (cluster-setup/6-protection/gateway/headers.conf). In a
# function, so that its names are its own.
HEAD = f"<script>(() => {{\n{(HERE / 'page.js').read_text()}}})();</script>"

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def share_as(address: str) -> None:
    """Have the document say what a shared link shows: the page's own title, text and picture.

    Args:
        address: of the page, as customers type it.
    """
    replace_head_tags(_shared(escape(address)))


def _shared(address: str) -> str:
    tags = {
        "type": "website",
        "site_name": "Kalecast",
        "title": "Kalecast",
        "description": TAGLINE,
        "url": f"{address}/",
        "image": f"{address}/preview.png",
        "image:width": "1200",
        "image:height": "630",
        "image:alt": "A series, its forecast, and the ranges in which it will lie",
    }
    return (
        '<title>Kalecast</title><link rel="icon" href="favicon.ico" />'
        f'<meta name="description" content="{TAGLINE}" />'
        '<meta name="twitter:card" content="summary_large_image" />'
        + "".join(f'<meta property="og:{key}" content="{text}" />' for key, text in tags.items())
    )


def theme() -> gr.themes.Base:
    """The page's theme."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=[gr.themes.Font(name) for name in SANS],
        font_mono=[gr.themes.Font(name) for name in MONO],
    ).set(
        body_background_fill="#f8fafc",
        body_background_fill_dark="#0b1120",
        body_text_color="#0f172a",
        body_text_color_dark="#e2e8f0",
        body_text_color_subdued="#52607a",
        body_text_color_subdued_dark="#94a3b8",
        block_background_fill="#ffffff",
        block_background_fill_dark="#111a2e",
        block_border_color="#e2e8f0",
        block_border_color_dark="#22304a",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        input_background_fill="#ffffff",
        input_background_fill_dark="#0d1526",
        input_border_color="#cbd5e1",
        input_border_color_dark="#2b3a55",
        link_text_color="#1d4ed8",
        link_text_color_dark="#93c5fd",
        button_primary_background_fill="#2563eb",
        button_primary_background_fill_hover="#1d4ed8",
        button_primary_background_fill_dark="#2563eb",
        button_primary_background_fill_hover_dark="#3b82f6",
        button_primary_text_color="#ffffff",
    )
