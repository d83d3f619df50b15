from django.contrib import admin
from django.urls import path

from . import accounts, api, notes

urlpatterns = [
    path("", notes.home),
    path("notes", notes.add),
    path("login", accounts.log_in),
    path("logout", accounts.log_out),
    path("password", accounts.change_password),
    path("devices", accounts.devices),
    path("devices/<grant_id>/end", accounts.end_device),
    path("log-out-everywhere", accounts.log_out_everywhere),
    path("api/login", api.log_in),
    path("api/notes", api.Notes.as_view()),
    path("admin/", admin.site.urls),
]
