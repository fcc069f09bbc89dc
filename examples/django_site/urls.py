"""The paths of the site; ``/callback`` and those below ``/auth`` never get here."""

from __future__ import annotations

from django.urls import path

from django_site import views

urlpatterns = [
    path("", views.home, name="home"),
    path("protected", views.protected, name="protected"),
    path("members", views.members, name="members"),
    path("claims", views.claims, name="claims"),
    path("organizations", views.organizations, name="organizations"),
    path("live", views.live_page, name="live"),
    path("live.js", views.live_script, name="live_script"),
]

handler403 = views.forbidden
