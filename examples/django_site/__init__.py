"""Django: ``wsgi.py`` wraps the site, ``auth.py`` is all that the site needs.

The settings come from the ``WORKOS_*`` environment variables; see the README for how
to get them. Serve it with any WSGI server::

    gunicorn --bind localhost:8000 django_site.wsgi

or try it with a fake WorkOS: ``make demo APP=django``.
"""
