import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["term"] ?? ""} />;
}

export const term: PageOf = { path: "term", nav: null, title: () => "Term", Page };
