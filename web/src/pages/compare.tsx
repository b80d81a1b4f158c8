import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["compare"] ?? ""} />;
}

export const compare: PageOf = { path: "compare", nav: "Compare", title: () => "Compare", Page };
