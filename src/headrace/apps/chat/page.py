"""The script that Streamlit runs from its top for every click: all of it is in `visit`, which is loaded once."""

from headrace.apps.chat.page_view import show

show()
