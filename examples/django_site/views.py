"""The pages of the site."""

from __future__ import annotations

from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
)
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

import live
import pages
from django_site.auth import permission_required, signed_in


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse(pages.home(request.META))


@require_safe
@signed_in
def protected(request: HttpRequest) -> HttpResponse:
    return HttpResponse(pages.protected(request.META))


@require_safe
@permission_required(pages.MANAGE_MEMBERS)
def members(request: HttpRequest) -> HttpResponse:
    return HttpResponse(pages.members(request.META))


@require_safe
@signed_in
def claims(request: HttpRequest) -> HttpResponse:
    return HttpResponse(pages.claims(request.META))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def organizations(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return switch_organization(request)
    csrf = ("csrfmiddlewaretoken", get_token(request))
    return HttpResponse(pages.organizations(request.META, csrf))


def switch_organization(request: HttpRequest) -> HttpResponse:
    organization_id = request.POST.get("organization_id")
    if not organization_id:
        return HttpResponseBadRequest()
    here = reverse("organizations")
    outcome = request.authkit.switch_organization(organization_id, return_to=here)
    if outcome.kind == "reauthorize":  # the organization asks for SSO, for instance
        return see_other(outcome.url)
    if outcome.kind == "denied":  # the session is over
        return see_other(request.authkit.sign_in_url(here))
    if outcome.kind == "unavailable":
        return HttpResponse(pages.unavailable(request.META), status=503)
    return see_other(here)


def see_other(to: str) -> HttpResponse:
    response = redirect(to)
    response.status_code = 303
    return response


@require_safe
def live_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(live.page(request.META), headers=live.HEADERS)


@require_safe
def live_script(request: HttpRequest) -> FileResponse:
    return FileResponse(live.SCRIPT.open("rb"), content_type="text/javascript")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(pages.forbidden(request.META), status=403)
