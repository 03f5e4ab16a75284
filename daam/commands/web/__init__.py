"""Pages on this machine for the person who started the command.

local_page   a server on loopback that answers only those who have its secret address
label.html   the page of `daam label`
search.html  the page of `daam search --serve`; search_routes: what it is answered
"""
