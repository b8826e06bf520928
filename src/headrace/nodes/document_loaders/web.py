"""Document loaders of web pages and repositories."""

from __future__ import annotations

from typing import Annotated

import msgspec

from headrace.engine.annotations import Additional, Input, NodeInfo, Package
from headrace.engine.node import Context
from headrace.errors import FlowError
from headrace.nodes.document_loaders.loader import Loader
from headrace.retrieval.github import Repository, RepositoryDocuments
from headrace.retrieval.library import library
from headrace.retrieval.web import Crawl, PageDocuments

_GITHUB = "https://github.com"
_GITHUB_API = "https://api.github.com"


class CheerioWebScraper(Loader, frozen=True, kw_only=True, tag="cheerioWebScraper"):
    """A web page, the pages that it leads to, or those of a site map. Read anew each hour."""

    info = NodeInfo(version=2, packages=(Package("bs4", "rag"),))

    url: str
    relativeLinksMethod: Annotated[Crawl | None, Input(additionalParams=True, default="webCrawl")] = None
    limit: Additional[int] = 10
    selectedLinks: list[str] = []
    """These pages, up to `limit` of them, in place of those that would be found."""
    selector: Additional[str] = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        documents = PageDocuments(
            library(ctx).fetch,
            self.url.strip(),
            self.finish,
            crawl=self.relativeLinksMethod,
            limit=self.limit,
            chosen=[link.strip() for link in self.selectedLinks if link.strip()],
            selector=self.selector,
        )
        return await self.output_of(documents)


class Github(Loader, frozen=True, kw_only=True, tag="github"):
    """The text files of a repository on GitHub. Read anew each hour."""

    info = NodeInfo(version=3, credentials=("githubApi",))

    credential: str = ""
    repoLink: str
    branch: str = "main"
    recursive: bool = False
    maxConcurrency: Additional[int | None] = None
    githubBaseUrl: Additional[str] = ""
    githubInstanceApi: Additional[str] = ""
    ignorePath: Additional[str] = ""
    maxRetries: Additional[int | None] = None

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        token = (await ctx.secrets(self.credential)).get("accessToken", "").strip() if self.credential else ""
        repository = Repository(
            link=self.repoLink.strip(),
            branch=self.branch,
            recursive=self.recursive,
            ignored=self._ignored(),
            api=self.githubInstanceApi or _GITHUB_API,
        )
        base = self.githubBaseUrl or _GITHUB
        if not repository.link.startswith(f"{base.rstrip('/')}/"):
            raise FlowError(
                f"the repository {repository.link!r} is not on {base!r}: set its base URL, or mend the link"
            )
        return await self.output_of(RepositoryDocuments(library(ctx).fetch, repository, token, self.finish))

    def _ignored(self) -> list[str]:
        if not self.ignorePath.strip():
            return []
        try:
            return msgspec.json.decode(self.ignorePath, type=list[str])
        except msgspec.MsgspecError:
            raise FlowError(
                f'the paths to ignore are {self.ignorePath!r}: write a JSON list of texts, such as ["*.md"]'
            ) from None


NODES = (CheerioWebScraper, Github)
