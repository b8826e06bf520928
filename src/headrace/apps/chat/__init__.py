"""The Streamlit chat: `headrace chat`.

A question is stored, then asked in the background, then its run is followed; whoever comes again, after a rerun, a
reload or days, follows the same run on. So there is one way to an answer and nothing that a lost page could lose.
"""
